#!/bin/bash
# Unpacks Debian's prometheus below the given directory and prints the path of its binary. It is not installed: an
# installed one would start as a service of this host. Quick when it is there already.
set -euo pipefail

directory=$1
binary=$directory/usr/bin/prometheus
if [[ ! -x $binary ]]; then
    mkdir -p "$directory"
    (
        cd "$directory"
        apt-get download --quiet prometheus >/dev/null || { apt-get update --quiet >/dev/null && apt-get download --quiet prometheus >/dev/null; }
        dpkg-deb --extract prometheus_*.deb .
        rm prometheus_*.deb
    )
fi
"$binary" --version >/dev/null 2>&1
echo "$binary"
