#!/bin/bash
# netsonde and those of its peers that need kprobes, on a small load in a virtual machine with one of Debian's kernels: VERSION (6.1).
# An emulated processor says nothing of what they cost; what they told, beside what there was, is the same anywhere.
# NETSONDE_BINARY names a binary that scripts/build-static.sh made before.
set -euo pipefail
cd "$(dirname "$0")/.."
. vm/apt.sh
. vm/vm.sh

leave_without_vm peers
version=${1:-6.1}
mkdir -p "$VM_CACHE/logs"
work=$(mktemp --directory "$VM_CACHE/peers.XXXXXX")
trap 'rm -rf "$work"' EXIT

fetch_qemu >/dev/null
fetch_kernel "$version" >/dev/null
binary=${NETSONDE_BINARY:-$(scripts/build-static.sh)}
cargo build --locked --package netsonde-bench --bins >&2
profile=$(realpath "${CARGO_TARGET_DIR:-target}")/debug

root=$VM_CACHE/root-peers
make_debian bookworm "$root" iproute2,libbpf-tools,libgcc-s1,mount,util-linux
[[ $VM_CACHE/root-peers.img -nt $root/.made-of ]] || make_disk "$root" "$VM_CACHE/root-peers.img" 200

payload=$work/payload
mkdir -p "$payload"
objcopy --strip-debug "$binary" "$payload/netsonde"
for program in netsonde-bench exchange; do
    objcopy --strip-debug "$profile/$program" "$payload/$program"
done
install -m755 vm/peers-in-vm.sh "$payload/peers-in-vm.sh"
kernel=$VM_CACHE/kernels/$version
make_initrd "$kernel" "$work/initrd"
acceleration=$(choose_acceleration "$kernel" "$work/initrd")
echo "machine run by $acceleration"
patience_of "$acceleration" >"$payload/patience"
make_disk "$payload" "$work/payload.img" 50
log=$VM_CACHE/logs/peers-$version.log
qemu_boot "$acceleration" "${VM_LIMIT:-900}" "$kernel" "$work/initrd" "netsonde.script=/payload/peers-in-vm.sh" \
    -drive "file=$VM_CACHE/root-peers.img,format=raw,if=virtio,snapshot=on" \
    -drive "file=$work/payload.img,format=raw,if=virtio,snapshot=on" | show_console "$log" || true
grep --quiet '^netsonde-vm: exit 0' "$log"
