#!/bin/bash
# Runs a cargo subcommand of a pinned version, the host's own or one built once into the target directory: NAME VERSION,
# then its arguments.
set -euo pipefail
root=$(realpath "$(dirname "$0")/..")
name=$1
version=$2
shift 2
tools=$(realpath -m "$root/${CARGO_TARGET_DIR:-target}/tools")
[[ ${CARGO_TARGET_DIR:-} != /* ]] || tools=$CARGO_TARGET_DIR/tools
tool=$tools/bin/$name

# Some answer `--version`, some need the subcommand's name before it; the folder's own list says it of all.
if ! grep -qs "^\"$name $version " "$tools/.crates.toml"; then
    # Hardly optimised, which builds fast; at 0 compressing takes twice as long. Outside of the workspace, with its own
    # settings.
    (
        cd /
        CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
            CARGO_TARGET_DIR=$tools/build \
            cargo install --quiet --locked --root "$tools" --version "$version" "$name"
    )
    rm -rf "$tools/build"
fi
exec "$tool" "${name#cargo-}" "$@"
