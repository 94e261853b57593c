#!/bin/bash
# Builds the binary that packages carry: static, with musl, so that it runs on any distribution whose kernel has what
# netsonde needs. Prints its path. Needs musl-tools beside the packages of building.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(uname -m)-unknown-linux-musl
out=${CARGO_TARGET_DIR:-target}
multiarch=$(gcc -print-multiarch)

rustup target list --installed | grep -qx "$target" || rustup target add "$target" >&2

# musl-gcc looks for headers in musl's folder alone; libbpf wants the kernel's too.
headers=$(realpath -m "$out")/musl-headers
mkdir -p "$headers"
ln -sfn /usr/include/linux "$headers/linux"
ln -sfn /usr/include/asm-generic "$headers/asm-generic"
ln -sfn "/usr/include/$multiarch/asm" "$headers/asm"

variable=${target//-/_}
# Without the paths of whoever builds, and of a moment that is always the same: the same sources give the same bytes.
# Were it the commit's, each commit would have every crate with C in it built anew.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
rust=$(rustc --print sysroot)
export SOURCE_DATE_EPOCH=0
export "CC_$variable=musl-gcc"
export "CFLAGS_$variable=-isystem $PWD/packaging/static -isystem $headers -ffile-prefix-map=$PWD=. -ffile-prefix-map=$cargo_home=cargo"
export "CARGO_TARGET_${variable^^}_RUSTFLAGS=--remap-path-prefix=$PWD=. --remap-path-prefix=$cargo_home=cargo --remap-path-prefix=$rust=rust"
# elfutils' configure refuses a libc without these, which only its commands use: netsonde links its libelf.
export ac_cv_search_argp_parse='none required' ac_cv_search_fts_close='none required' \
    ac_cv_search__obstack_free='none required'

cargo build --locked --profile dist --target "$target" --package netsonde >&2
binary=$out/$target/dist/netsonde

# What static means here: no interpreter, no library, no symbol of a libc that the host must have.
if readelf --program-headers "$binary" | grep -q INTERP || readelf --dynamic "$binary" | grep -q NEEDED; then
    echo "$binary is not static" >&2
    exit 1
fi
echo "$binary"
