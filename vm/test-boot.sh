#!/bin/bash
# Boots a Debian with systemd in a virtual machine, with a Debian kernel: VERSION (6.1). There the packages are installed
# by the guide's commands, used, upgraded, killed, removed and purged (packaging/test/in-root.sh), and what netsonde sends
# arrives at a collector on this side. NETSONDE_BINARY names a binary that scripts/build-static.sh made before.
set -euo pipefail
cd "$(dirname "$0")/.."
. vm/apt.sh
. vm/vm.sh

leave_without_vm test-vm
version=${1:-6.1}
out=$(realpath -m "${CARGO_TARGET_DIR:-target}")
work=$VM_CACHE/test-boot
rm -rf "$work"
mkdir -p "$work"

fetch_qemu >/dev/null
kernel=$(fetch_kernel "$version")
NETSONDE_BINARY=${NETSONDE_BINARY:-$(scripts/build-static.sh)}
export NETSONDE_BINARY
rm -f "$out"/packages/netsonde*
# The second is what the first is upgraded to.
for release in 1 2; do
    NETSONDE_RELEASE=$release scripts/build-packages.sh deb rpm >/dev/null
done

base=$VM_CACHE/root-systemd
make_debian bookworm "$base" systemd,systemd-sysv,udev,kmod,dbus,ca-certificates,curl,iproute2,python3-minimal,libpython3-stdlib,rpm,dnf

echo "taking records on this side"
vm/collector.py "$work/records.jsonl" "$work/port" &
collector=$!
trap 'kill "$collector" 2>/dev/null || true; rm -rf "$work/root"' EXIT
for _ in $(seq 50); do
    [[ ! -s $work/port ]] || break
    sleep 0.1
done
port=$(<"$work/port")

make_initrd "$kernel" "$work/initrd"
acceleration=$(choose_acceleration "$kernel" "$work/initrd")
patience=$(patience_of "$acceleration")
echo "the machine runs by $acceleration"

root=$work/root
cp --archive --reflink=auto "$base" "$root"
mkdir -p "$root/lib/modules"
cp -r "$kernel/lib/modules/$(release_of "$kernel")" "$root/lib/modules/"
packaging/test/fill.sh "$root/packages"
# In the machine the host is at 10.0.2.2 (qemu's user network).
echo "http://10.0.2.2:$port" >"$root/packages/collector"
echo "$patience" >"$root/packages/patience"
cat >"$root/packages/run" <<'END'
#!/bin/bash
# The script, with what it says and how it ends on the serial console.
exec >/dev/ttyS0 2>&1
ip link set lo up
ip link set eth0 up
ip address add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
status=0
/packages/script || status=$?
echo "netsonde-vm: exit $status"
END
chmod +x "$root/packages/run"
cat >"$root/etc/systemd/system/script.service" <<'END'
[Unit]
Description=The script
After=multi-user.target
SuccessAction=poweroff-force
FailureAction=poweroff-force

[Service]
Type=oneshot
ExecStart=/packages/run
StandardInput=null
TimeoutStartSec=infinity

[Install]
WantedBy=default.target
END
systemctl --root="$root" --quiet enable script.service
systemctl --root="$root" --quiet mask getty.target serial-getty@ttyS0.service console-getty.service apt-daily.timer \
    apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
: >"$root/etc/machine-id"
make_disk "$root" "$work/root.img" 400

log=$work/console.log
began=$SECONDS
qemu_boot "$acceleration" "${VM_LIMIT:-1800}" "$kernel" "$work/initrd" "net.ifnames=0 systemd.show_status=no" \
    -drive "file=$work/root.img,format=raw,if=virtio,snapshot=on" \
    -netdev user,id=host -device virtio-net-pci,netdev=host,romfile= | show_console "$log" || true
echo "== the machine with Linux $(release_of "$kernel") took $((SECONDS - began)) s"
grep --quiet '^netsonde-vm: exit 0' "$log" || exit 1

# Each fetch that the script made while netsonde ran is one connection of curl's, and is told once at each end.
python3 - "$work/records.jsonl" "$(grep -c '^fetched ' "$log")" <<'END'
import json
import sys

with open(sys.argv[1]) as file:
    records = [json.loads(line) for line in file]
fetched = int(sys.argv[2])
closes = [r for r in records if r["event"] == "netsonde.tcp.close" and r.get("server.port") == 8000]


def by(program, role):
    return sum(
        r["process.executable.path"].startswith(program) and r["netsonde.socket.role"] == role for r in closes
    )


seen = {"curl": by("/usr/bin/curl", "client"), "python": by("/usr/bin/python3", "server")}
exports = sum(r["event"] is None for r in records)
print(f"{len(records) - exports} records and {exports} exports of metrics arrived; of {fetched} fetches {seen}")
if not fetched or seen != {"curl": fetched, "python": fetched} or not exports:
    print("FAILED  each fetch has one record of its client and one of its server")
    sys.exit(1)
END
echo "1 passed, 0 failed: what was sent has arrived"
