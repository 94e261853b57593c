//! Compiles the C of every signal into one BPF object and generates the Rust side of its layouts; and once more into
//! one for kernels that keep no storage with sockets (`include/kernel.h` has what they lack).
//!
//! Each `src/signals/*/*.bpf.c` is included into one translation unit, so that signals share maps and
//! there is no list to keep. Clang is looked up as `clang`, or as named by `$CLANG`.

#![allow(clippy::disallowed_methods, reason = "cargo speaks to build scripts through the environment")]

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use libbpf_cargo::SkeletonBuilder;

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo:rerun-if-changed=include");
    println!("cargo:rerun-if-changed=src/signals");
    println!("cargo:rerun-if-env-changed=CLANG");

    let unit = out.join("netsonde.bpf.c");
    fs::write(&unit, translation_unit(&signal_sources(&root.join("src/signals"))?)?)?;

    let mut builder = SkeletonBuilder::new();
    builder.source(&unit).obj(out.join("netsonde.bpf.o")).clang_args(clang_args(&root, &out)?);
    if let Some(clang) = env::var_os("CLANG") {
        builder.clang(clang);
    }
    let skeleton = out.join("netsonde.skel.rs");
    builder
        .build_and_generate(&skeleton)
        .map_err(|e| format!("cannot build the BPF programs (is clang 12 or later there?): {e:#}"))?;
    fs::write(out.join("layouts.rs"), layouts(&fs::read_to_string(&skeleton)?)?)?;

    let mut by_address = clang_args(&root, &out)?;
    // What only programs for packets use is not used then.
    by_address.extend(["-DBY_ADDRESS".into(), "-Wno-unused-function".into()]);
    builder.obj(out.join("by-address.bpf.o")).clang_args(by_address);
    builder.build().map_err(|e| format!("cannot build the BPF programs for older kernels: {e:#}"))?;
    Ok(())
}

/// The record layouts out of the generated skeleton. The rest of it loads and attaches, which netsonde does
/// itself, program by program.
fn layouts(skeleton: &str) -> Result<&str, Box<dyn Error>> {
    let (_, after) = skeleton.split_once("pub mod types {").ok_or("the skeleton has no types")?;
    let mut depth = 1;
    for (i, byte) in after.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Ok(&after[..i]);
        }
    }
    Err("the skeleton's types do not end".into())
}

fn signal_sources(signals: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut sources = Vec::new();
    for signal in fs::read_dir(signals)? {
        let signal = signal?.path();
        if !signal.is_dir() {
            continue;
        }
        for file in fs::read_dir(signal)? {
            let file = file?.path();
            if file.to_string_lossy().ends_with(".bpf.c") {
                sources.push(file);
            }
        }
    }
    sources.sort();
    Ok(sources)
}

fn translation_unit(sources: &[PathBuf]) -> Result<String, Box<dyn Error>> {
    let mut unit = String::new();
    for source in sources {
        writeln!(unit, "#include \"{}\"", source.display())?;
    }
    // The helpers that netsonde calls are open to programs under a GPL-compatible licence only.
    writeln!(unit, "char LICENSE[] SEC(\"license\") = \"Dual BSD/GPL\";")?;
    // A layout that only travels through a ring or an iterator is in no map: naming it keeps its BTF.
    for record in [
        "socket_event",
        "listener_record",
        "holder_record",
        "process_record",
        "exec_record",
        "cgroup_record",
        "payload_record",
        "select_rule",
    ] {
        writeln!(unit, "struct {record} *layout_of_{record};")?;
    }
    for names in [
        "application_protocol",
        "drop_kind",
        "event_flag",
        "event_kind",
        "held_kind",
        "failure_kind",
        "loss",
        "process_event_kind",
        "socket_role",
        "path_flag",
        "payload_kind",
        "process_flag",
        "process_number",
        "socket_number",
        "rule_mask",
        "rule_transport",
        "histogram_layout",
    ] {
        writeln!(unit, "enum {names} *layout_of_{names};")?;
    }
    Ok(unit)
}

/// `-ffile-prefix-map` of `folder`: the object's line information must not depend on where it was built.
fn mapped(folder: &Path, name: &str) -> OsString {
    let mut map = OsString::from("-ffile-prefix-map=");
    map.push(folder);
    map.push("=");
    map.push(name);
    map
}

fn clang_args(root: &Path, out: &Path) -> Result<Vec<OsString>, Box<dyn Error>> {
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    // Debian keeps <asm/types.h> under the multiarch triplet, which clang's bpf target does not search.
    let triplet = match arch.as_str() {
        "x86_64" => "x86_64-linux-gnu",
        "aarch64" => "aarch64-linux-gnu",
        other => return Err(format!("no BPF headers are known for {other}").into()),
    };
    Ok(vec![
        // v3 brings 32-bit jumps, which every kernel since 5.1 runs, and atomic exchange, which is 5.12's.
        "-mcpu=v3".into(),
        "-Wall".into(),
        "-Wextra".into(),
        "-Wno-unused-parameter".into(),
        "-Werror".into(),
        mapped(root, "probes"),
        mapped(out, "out"),
        "-fdebug-compilation-dir=.".into(),
        "-I".into(),
        root.join("include").into_os_string(),
        // libbpf's own headers, as libbpf-sys unpacked them.
        "-I".into(),
        env::var_os("DEP_BPF_INCLUDE").ok_or("libbpf-sys did not say where its headers are")?,
        "-idirafter".into(),
        format!("/usr/include/{triplet}").into(),
        // Those of another architecture are here (linux-libc-dev-ARCH-cross).
        "-idirafter".into(),
        format!("/usr/{triplet}/include").into(),
    ])
}
