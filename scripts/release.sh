#!/bin/bash
# Builds what is published into target/release-VERSION: both packages, what is in them as CycloneDX, and checksums. The
# same commit gives the same bytes, on the same versions of Rust, clang and musl-tools. Refuses changes that are not
# committed; NETSONDE_BINARY as in scripts/build-packages.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ -n $(git status --porcelain) ]]; then
    echo "There are changes that are not committed: a release is one commit" >&2
    exit 1
fi
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
out=$(realpath -m "${CARGO_TARGET_DIR:-target}")
folder=$out/release-$version
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
rm -rf "$folder"
mkdir -p "$folder"
rm -f "$out"/packages/netsonde*

scripts/build-packages.sh deb rpm
cp "$out"/packages/netsonde* "$folder/"

# cargo-cyclonedx writes beside the manifests, and names their folder: a copy, and a name that is always the same.
sources=$(mktemp --directory)
trap 'rm -rf "$sources"' EXIT
git archive HEAD | tar --extract --directory "$sources"
scripts/cargo-tool.sh cargo-cyclonedx 0.5.9 --quiet --manifest-path "$sources/daemon/Cargo.toml" --format json \
    --spec-version 1.5 --target "$(uname -m)-unknown-linux-musl" --no-build-deps --override-filename sbom
packaging/bundled_components.py "$sources/daemon/sbom.json" "$sources"
cp "$sources/daemon/sbom.json" "$folder/netsonde-$version.cdx.json"

cd "$folder"
sha256sum netsonde* >SHA256SUMS
cat SHA256SUMS
