#!/bin/bash
# Builds netsonde for 64-bit ARM on another machine: Rust, the C of its libraries, and the BPF programs with ARM's
# registers. What comes out is looked at and not run: nothing here says that it works.
set -euo pipefail
cd "$(dirname "$0")/.."

target=aarch64-unknown-linux-gnu
if ! rustup target list --installed | grep -qx "$target" && ! rustup target add "$target" >&2; then
    echo "cross-check: skipped, Rust's library for $target cannot be had"
    exit 0
fi

variable=${target//-/_}
export "CC_$variable=aarch64-linux-gnu-gcc" "AR_$variable=aarch64-linux-gnu-ar"
export "CARGO_TARGET_${variable^^}_LINKER=aarch64-linux-gnu-gcc"
# Nobody debugs it.
export CARGO_PROFILE_DEV_DEBUG=0
cargo build --locked --target "$target" --package netsonde

binary=${CARGO_TARGET_DIR:-target}/$target/debug/netsonde
readelf --file-header "$binary" | grep --quiet 'Machine:.*AArch64'
object=$(find "${CARGO_TARGET_DIR:-target}/$target/debug/build" -name netsonde.bpf.o -printf '%T@ %p\n' | sort -n | tail -1 | cut -d' ' -f2)
readelf --file-header "$object" | grep --quiet 'Machine:.*BPF'
echo "cross-check: $binary and $(readelf --sections --wide "$object" | grep -cE '(tp_btf|iter|cgroup)[^ ]* +PROGBITS') sections of BPF programs are there; they were not run"
