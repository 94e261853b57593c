#!/bin/bash
# Proves that what the page carries of npm is what npm has: the lock file names each package by the hash of its contents,
# npm refuses any other, and the copies under daemon/web/vendor equal the package's files. With --update, copies them.
set -euo pipefail
cd "$(dirname "$0")/.."

web=daemon/web
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$web/package.json" "$web/package-lock.json" "$work"
# No script of any package is run.
npm ci --prefix "$work" --ignore-scripts --no-audit --no-fund --silent

# What is vendored, and where it comes from in node_modules.
vendored=(
    "d3.min.js d3/dist/d3.min.js"
    "d3.LICENSE d3/LICENSE"
)
for line in "${vendored[@]}"; do
    read -r copy original <<<"$line"
    if [[ ${1:-} == --update ]]; then
        cp "$work/node_modules/$original" "$web/vendor/$copy"
    elif ! cmp "$work/node_modules/$original" "$web/vendor/$copy"; then
        echo "$web/vendor/$copy is not $original of npm: scripts/check-web.sh --update copies it anew" >&2
        exit 1
    fi
done
# Nothing lies there that is not on the list.
for file in "$web"/vendor/*; do
    name=${file##*/}
    printf '%s\n' "${vendored[@]}" | grep -q "^$name " || { echo "$file is not on the list of scripts/check-web.sh" >&2; exit 1; }
done
# Every module can be read, by the oldest Node that the tests support and by browsers.
find "$web/js" "$web/tests" tests/web -name node_modules -prune -o \( -name '*.js' -o -name '*.mjs' \) -print0 |
    xargs -0 -n1 node --check
