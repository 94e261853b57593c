#!/bin/bash
# Writes docs/screenshots anew. The traffic's programs are children of a process that is nobody's, under a name that says
# what it does there: the pictures show chains of parents, and shall not depend on who made them.
set -euo pipefail
cd "$(dirname "$0")/.."

test=$(cargo test --locked --package netsonde-tests --test screenshots --no-run --message-format=json |
    sed -n 's/.*"executable":"\([^"]*screenshots[^"]*\)".*/\1/p')
supervisor=$(dirname "$test")/supervisor
cp "$test" "$supervisor"
log=$(mktemp)
trap 'rm -f "$log" "$supervisor"' EXIT
if [ "$(id -u)" -eq 0 ]; then as_root=(); else as_root=(sudo -E); fi
"${as_root[@]}" setsid --fork "$supervisor" --ignored --nocapture >"$log" 2>&1 </dev/null
# Its last line says how it ended.
until grep -q '^test result' "$log"; do
    sleep 1
    pgrep --full --exact "$supervisor --ignored --nocapture" >/dev/null || break
done
cat "$log"
grep -q '^test result: ok' "$log"
