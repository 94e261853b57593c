#!/bin/bash
# What is tried of netsonde on one kernel, as the only process of a test machine. /payload has the binary, the tests, the
# kernel's modules and the list of what to run; the last line says how it went.
set -uo pipefail
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 NETSONDE_BIN=/payload/netsonde
# Emulated processors are slow.
NETSONDE_PATIENCE=$(</payload/patience)
export NETSONDE_PATIENCE

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t tmpfs run /run
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs trace /sys/kernel/tracing
mount -t cgroup2 cgroup /sys/fs/cgroup
mkdir -p /dev/pts /dev/shm /run/lock /run/netns /lib/modules
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount --bind /payload/modules /lib/modules
# Tests look for their programs where they were built.
sources=$(</payload/sources)
mkdir -p "$sources"
mount --bind /payload/programs "$sources"
ip link set lo up
# As the unit has it: before Linux 5.11 what BPF takes counts as locked memory of its user.
ulimit -l 262144
[[ -e /dev/fd ]] || ln -s /proc/self/fd /dev/fd

# The end of the machine, with what it has to say.
finish() {
    echo "netsonde-vm: $1"
    sync
    poweroff -f 2>/dev/null || echo o >/proc/sysrq-trigger
    sleep 30
}

echo "== Linux $(uname -r)"
failed=0

echo "-- signals"
cat >/tmp/netsonde.toml <<END
interval = "1s"
[export.file]
path = "/tmp/output.jsonl"
[history]
directory = "/tmp/history"
[export.spool]
path = "/tmp/spool"
[api]
socket = "/tmp/netsonde.sock"
END
/payload/netsonde run --config /tmp/netsonde.toml 2>/tmp/errors >/dev/null &
daemon=$!
for _ in $(seq 100); do
    /payload/netsonde status --config /tmp/netsonde.toml >/tmp/status 2>/tmp/status-errors && break
    kill -0 "$daemon" 2>/dev/null || break
    sleep 0.5
done
/payload/netsonde status --json --config /tmp/netsonde.toml >/tmp/status.json 2>>/tmp/status-errors
if ! python3 - <<'END'
import json, sys

with open("/payload/expected.json") as file:
    expected = json.load(file)
with open("/tmp/status.json") as file:
    signals = json.load(file)["status"]["signals"]
wrong = 0
for signal in signals:
    state, reason = signal["state"], signal.get("reason")
    print(f"{signal['name']:10} {state}" + (f": {reason}" if reason else ""))
    if state not in expected.get(signal["name"], ["active"]):
        print(f"FAILED  {signal['name']} is {state}")
        wrong += 1
sys.exit(wrong != 0 or not signals)
END
then
    failed=$((failed + 1))
    cat /tmp/status-errors /tmp/errors
fi
kill -TERM "$daemon" 2>/dev/null
wait "$daemon"
code=$?
echo "netsonde ended with exit code $code"
# No other word than of refused programs on kernels that are known to.
grep -E ' (WARN|ERROR) ' /tmp/errors

# SUITE [TESTS...]: runs these tests of it, or all.
run_suite() {
    local suite=$1
    shift
    timeout "$((300 * NETSONDE_PATIENCE))" "/payload/tests/$suite" --nocapture --test-threads=1 \
        ${1:+--exact "$@"} >/tmp/said 2>&1 </dev/null
}

# As scripts/test-workspace.sh does, what fails is tried once more by itself; what fails twice fails the whole.
passed=0
while read -r suite tests; do
    [[ -n $suite && $suite != "#"* ]] || continue
    echo "-- $suite ${tests:+($tests)}"
    read -ra tests <<<"$tests"
    outcome=0
    run_suite "$suite" "${tests[@]}" || outcome=$?
    grep -E '^(test |verifier)' /tmp/said
    if [[ $outcome -ne 0 ]]; then
        tail -c 6000 /tmp/said
        # The names stand last, below "failures:".
        mapfile -t again < <(tac /tmp/said | sed -n '/^failures:$/q; s/^    \([^ ]*\)$/\1/p')
        if [[ ${#again[@]} -gt 0 ]]; then
            echo "tried once more: ${again[*]}"
            outcome=0
            run_suite "$suite" "${again[@]}" || outcome=$?
            tail -c 6000 /tmp/said
        fi
    fi
    if [[ $outcome -eq 0 ]]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED  $suite"
    fi
done </payload/list
echo "$passed suites passed, $failed failed"
finish "exit $((failed != 0))"
