#!/bin/bash
# What vm/peers.sh runs as the only process of a test machine. The last line says how it went.
set -uo pipefail
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
# Emulated processors are slow.
NETSONDE_PATIENCE=$(</payload/patience)
export NETSONDE_PATIENCE

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t tmpfs run /run
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup /sys/fs/cgroup
ip link set lo up
[[ -e /dev/fd ]] || ln -s /proc/self/fd /dev/fd

echo "== Linux $(uname -r)"
/payload/netsonde-bench --netsonde /payload/netsonde --output /tmp/results --rounds 1 --seconds 5 \
    --only peers-process-churn --peers=tcplife,tcpstates,tcpconnect,tcptop,ss
code=$?
echo "netsonde-vm: exit $code"
sync
poweroff -f 2>/dev/null || echo o >/proc/sysrq-trigger
sleep 30
