#!/bin/bash
# Runs cargo-deny, the host's own or one built once into the target directory (2 to 4 minutes).
set -euo pipefail
cd "$(dirname "$0")/.."

# Pinned, so that a new release cannot fail a build that changed nothing.
version=0.20.2
tools=${CARGO_TARGET_DIR:-target}/tools

if ! deny=$(command -v cargo-deny); then
    deny=$tools/bin/cargo-deny
    if [[ $("$deny" --version 2>/dev/null) != "cargo-deny $version" ]]; then
        # Unoptimised: it runs for a second, and building it optimised takes as long as building netsonde.
        CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
            CARGO_TARGET_DIR=$tools/build \
            cargo install --quiet --locked --root "$tools" --version "$version" cargo-deny
        rm -rf "$tools/build"
    fi
fi
exec "$deny" "$@"
