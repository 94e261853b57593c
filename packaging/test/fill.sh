#!/bin/bash
# Fills a folder with what packaging/test/in-root.sh finds as /packages: FOLDER. That is itself, as `script`, the packages
# of two releases from target/packages, the guide, and what of the sources the guide installs, with the binary that
# NETSONDE_BINARY names where `make build` puts one.
set -euo pipefail
cd "$(dirname "$0")/../.."

folder=$1
mkdir -p "$folder/source"
cp "${CARGO_TARGET_DIR:-target}"/packages/netsonde* "$folder/"
cp docs/guide.md "$folder/"
install -m 755 packaging/test/in-root.sh "$folder/script"
cp --parents systemd/netsonde.service packaging/*.d/netsonde.conf config/netsonde.toml "$folder/source"
install -D -m 755 "$NETSONDE_BINARY" "$folder/source/target/release/netsonde"
