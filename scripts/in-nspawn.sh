#!/bin/bash
# Boots systemd on a copy of a root folder, on this kernel and in namespaces of its own, runs a script in it as root and
# ends with the script's exit code: ROOT FOLDER. What is in the folder is in its /packages, the script among it as
# `script`; the journal that it leaves there comes back. The root stays as it was.
set -euo pipefail

root=$(realpath "$1")
folder=$(realpath "$2")

if [[ ${IN_NSPAWN:-} != inside ]]; then
    # Mounts are made in a namespace of their own, and end with it.
    status=0
    IN_NSPAWN=inside unshare --mount "$0" "$@" || status=$?
    # systemd leaves its control groups behind.
    for hierarchy in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
        group=$hierarchy/netsonde-nspawn-$$
        [[ ! -d $group ]] || find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done
    exit "$status"
fi

work=$(mktemp --directory /tmp/netsonde-nspawn.XXXXXX)
trap 'umount --recursive --quiet "$work" || true; rm -rf "$work"' EXIT
mount -t tmpfs tmpfs "$work"
mkdir "$work"/{upper,inner,root}
mount -t overlay overlay -o "lowerdir=$root,upperdir=$work/upper,workdir=$work/inner" "$work/root"
copy=$work/root
cp --recursive "$folder" "$copy/packages"
cat >"$copy/etc/systemd/system/script.service" <<'END'
[Unit]
Description=The script
After=multi-user.target
SuccessAction=poweroff-force
FailureAction=poweroff-force

[Service]
Type=oneshot
ExecStart=/bin/bash -c '/packages/script >/packages/output 2>&1; echo $? >/packages/status'
StandardInput=null

[Install]
WantedBy=default.target
END
systemctl --root="$copy" --quiet enable script.service
systemctl --root="$copy" --quiet mask getty.target console-getty.service apt-daily.timer apt-daily-upgrade.timer \
    dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
rm -f "$copy/etc/machine-id" && touch "$copy/etc/machine-id"

# A control group of its own in each hierarchy that systemd uses, else it would take over this shell's.
for hierarchy in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
    if [[ -e $hierarchy/cgroup.procs ]]; then
        mkdir -p "$hierarchy/netsonde-nspawn-$PPID"
        echo $$ >"$hierarchy/netsonde-nspawn-$PPID/cgroup.procs"
    fi
done
console=$work/console
export SYSTEMD_NSPAWN_LOCK=0 SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
timeout --kill-after=10 "${IN_NSPAWN_LIMIT:-300}" systemd-nspawn --quiet --directory="$copy" --boot --register=no \
    --keep-unit --private-network --console=pipe --machine=netsonde-test \
    --capability=CAP_BPF,CAP_PERFMON,CAP_NET_ADMIN,CAP_SYS_ADMIN,CAP_SYS_PTRACE \
    --system-call-filter="bpf perf_event_open @system-service" \
    --bind-ro=/sys/kernel/btf --bind-ro=/sys/kernel/tracing --bind=/sys/fs/bpf \
    </dev/null >"$console" 2>&1 || true

cat "$copy/packages/output" 2>/dev/null || { cat "$console"; echo "the script was not run"; exit 1; }
cp "$copy/packages/journal.txt" "$folder/journal.txt" 2>/dev/null || true
exit "$(cat "$copy/packages/status" 2>/dev/null || echo 1)"
