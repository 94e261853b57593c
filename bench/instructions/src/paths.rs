//! Finds the tests that drive hot paths, builds them as `bench/counted/profile.toml` says, and counts each in a process of
//! its own. There is no list to keep: it is every test in a module `counted` of a package that tests with
//! `netsonde-counted`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;

use crate::callgrind::{self, Collected};
use crate::recorded::Counted;

const PROFILE: &str = "bench/counted/profile.toml";
/// What packages with such tests depend on.
const MARKER: &str = "netsonde-counted";
/// The module of such tests.
const MODULE: &str = "counted::";

/// Where valgrind and what it runs is looked for.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A test that drives a path.
#[derive(Debug, Clone)]
struct Drive {
    /// As it is recorded.
    name: String,
    executable: PathBuf,
    test: String,
    /// Of the package.
    directory: PathBuf,
}

/// What each path of the workspace costs.
///
/// # Errors
///
/// When they cannot be built or run.
pub fn count(root: &Path) -> Result<BTreeMap<String, Counted>> {
    let packages = packages(root)?;
    if packages.is_empty() {
        bail!("no package tests with {MARKER}");
    }
    let mut drives = Vec::new();
    for built in build(root, &packages)? {
        drives.extend(built.drives()?);
    }
    if drives.is_empty() {
        bail!("there is no test in a module `counted`");
    }
    run(drives)
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

/// Packages with such tests.
fn packages(root: &Path) -> Result<Vec<String>> {
    let output = cargo(root)
        .args(["metadata", "--locked", "--no-deps", "--format-version", "1"])
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Metadata = serde_json::from_slice(&output.stdout)?;
    let tests_with = |d: &Dependency| d.name == MARKER && d.kind.as_deref() == Some("dev");
    let packages = metadata.packages.into_iter();
    Ok(packages.filter(|p| p.dependencies.iter().any(tests_with)).map(|p| p.name).collect())
}

fn cargo(root: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root);
    cargo
}

/// What cargo says of each thing that it has built.
#[derive(Deserialize)]
struct Built {
    reason: String,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
    manifest_path: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// A test binary.
struct Binary {
    crate_name: String,
    executable: PathBuf,
    directory: PathBuf,
}

fn build(root: &Path, packages: &[String]) -> Result<Vec<Binary>> {
    let mut build = cargo(root);
    build.args(["--config", PROFILE, "test", "--locked", "--no-run", "--lib", "--bins"]);
    build.arg("--message-format=json-render-diagnostics");
    build.args(packages.iter().flat_map(|package| ["--package", package]));
    // Else code is cut into other pieces.
    build.env("CARGO_INCREMENTAL", "0").stderr(Stdio::inherit());
    let output = build.output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("what is to be counted does not compile");
    }
    binaries(&String::from_utf8_lossy(&output.stdout))
}

/// The test binaries among cargo's messages.
fn binaries(messages: &str) -> Result<Vec<Binary>> {
    let mut binaries = Vec::new();
    for line in messages.lines().filter(|line| line.starts_with('{')) {
        let built: Built = serde_json::from_str(line)?;
        let (Some(target), Some(profile), Some(executable), Some(manifest)) =
            (built.target, built.profile, built.executable, built.manifest_path)
        else {
            continue;
        };
        if built.reason != "compiler-artifact" || !profile.test {
            continue;
        }
        let directory = manifest.parent().context("a package has no folder")?.to_owned();
        binaries.push(Binary { crate_name: target.name.replace('-', "_"), executable, directory });
    }
    Ok(binaries)
}

impl Binary {
    fn drives(&self) -> Result<Vec<Drive>> {
        let output = Command::new(&self.executable).args(["--list", "--format", "terse"]).output()?;
        Ok(tests(&String::from_utf8_lossy(&output.stdout))
            .map(|test| Drive {
                name: format!("{}::{}", self.crate_name, test.replace(MODULE, "")),
                executable: self.executable.clone(),
                test: test.to_owned(),
                directory: self.directory.clone(),
            })
            .collect())
    }
}

/// Tests that drive paths, among all that a test binary lists.
fn tests(list: &str) -> impl Iterator<Item = &str> {
    list.lines().filter_map(|line| line.strip_suffix(": test")).filter(|test| {
        let (module, _) = test.rsplit_once("::").unwrap_or_default();
        module == "counted" || module.ends_with("::counted")
    })
}

/// Runs all of them, as many at once as there are processors: none counts what another does.
fn run(drives: Vec<Drive>) -> Result<BTreeMap<String, Counted>> {
    let at_once = thread::available_parallelism()?.get().min(drives.len());
    let waiting = Mutex::new(drives.into_iter());
    let next = || waiting.lock().ok()?.next();
    let work = || -> Result<Vec<(String, Counted)>> {
        callgrind::hide_auxv()?;
        let mut counted = Vec::new();
        while let Some(drive) = next() {
            let collected = callgrind::run(&drive.executable, &drive.test, &drive.directory, PATH)?;
            counted.push((drive.name, for_each(collected)));
        }
        Ok(counted)
    };
    let mut all = BTreeMap::new();
    thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            all.extend(worker.join().map_err(|_| anyhow!("a thread that counts panicked"))??);
        }
        Ok(())
    })?;
    Ok(all)
}

fn for_each(collected: Collected) -> Counted {
    let half = collected.units / 2;
    Counted { instructions: (collected.instructions + half) / collected.units, unit: collected.unit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_of_the_module_are_found() {
        let list = "a::counted::one: test\na::tests::counted: test\ncounted::two: test\na::discounted::x: test\n\
            b::counted::deep::three: test\n\n";
        assert_eq!(tests(list).collect::<Vec<_>>(), ["a::counted::one", "counted::two"]);
    }

    #[test]
    fn test_binaries_are_found_among_cargos_messages() {
        let artifact = |test: bool, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/w/dns/Cargo.toml","target":{{"name":"netsonde-dns"}},"profile":{{"test":{test}}},"executable":{executable}}}"#
            )
        };
        let messages = [
            artifact(false, "null"),
            artifact(false, r#""/t/netsonde""#),
            artifact(true, r#""/t/netsonde_dns-1""#),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ];
        let binaries = binaries(&messages.join("\n")).unwrap();
        let [binary] = &binaries[..] else { panic!("{}", binaries.len()) };
        assert_eq!(binary.crate_name, "netsonde_dns");
        assert_eq!(
            (&*binary.executable, &*binary.directory),
            (Path::new("/t/netsonde_dns-1"), Path::new("/w/dns"))
        );
    }

    #[test]
    fn counts_are_rounded_to_whole_instructions() {
        let of = |instructions, units| for_each(Collected { instructions, units, unit: "flow".to_owned() });
        assert_eq!(of(1499, 1000).instructions, 1);
        assert_eq!(of(1500, 1000).instructions, 2);
    }
}
