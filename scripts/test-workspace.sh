#!/bin/bash
# All tests, against this kernel. What fails of the kernel tests is tried once more by itself: a machine may keep BPF
# programs from running for a moment (DECISIONS 14), and traffic that nobody saw cannot be counted. Whatever fails
# twice, and any other test that fails once, fails the whole.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo test --locked --workspace --no-fail-fast 2>&1 | tee "$log"
outcome=${PIPESTATUS[0]}
[ "$outcome" -eq 0 ] && exit 0

# cargo ends with the targets that failed, each as the arguments that run it again.
mapfile -t failed < <(sed -n 's/^    .\(-p .*\).$/\1/p' "$log")
[ "${#failed[@]}" -gt 0 ] || exit "$outcome"
for target in "${failed[@]}"; do
    case $target in
    "-p netsonde-tests --test "*) ;;
    *) exit "$outcome" ;;
    esac
done
for target in "${failed[@]}"; do
    name=${target##* }
    # Of the target only the tests that failed, by the heads of their reports.
    mapfile -t tests < <(awk -v target="tests/$name.rs" '
        /^     Running / { ours = ($2 == target) }
        ours && /^test .* \.\.\. FAILED$/ { print $2 }' "$log")
    [ "${#tests[@]}" -gt 0 ] || exit "$outcome"
    for test in "${tests[@]}"; do
        echo "$name: $test failed, and is tried once more"
        cargo test --locked --package netsonde-tests --test "$name" -- --exact "$test" || exit 1
    done
done
echo "each of these failed once and passed once:" "${failed[@]}"
