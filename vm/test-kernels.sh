#!/bin/bash
# The kernel tests on Debian's kernels, each in a virtual machine: VERSION... (5.10 6.1 6.12 6.18 7.2). Each says which
# signals are at work, what the verifier paid for each program, and what the tests say. NETSONDE_BINARY names a binary
# that scripts/build-static.sh made before.
# What is run is in vm/suites (NETSONDE_SUITES names another such list), or vm/suites-VERSION where that exists; what is
# expected of the signals, short of that all are active, in vm/expected.
set -euo pipefail
cd "$(dirname "$0")/.."
. vm/apt.sh
. vm/vm.sh

leave_without_vm test-kernels
versions=("$@")
[[ ${#versions[@]} -gt 0 ]] || versions=(5.10 6.1 6.12 6.18 7.2)
mkdir -p "$VM_CACHE/logs"
work=$(mktemp --directory "$VM_CACHE/test-kernels.XXXXXX")
trap 'rm -rf "$work"' EXIT

fetch_qemu >/dev/null
for version in "${versions[@]}"; do
    fetch_kernel "$version" >/dev/null
done

binary=${NETSONDE_BINARY:-$(scripts/build-static.sh)}
cargo build --locked --package netsonde-tests --bins >&2
profile=$(realpath "${CARGO_TARGET_DIR:-target}")/debug

# What the tests ask for of Debian, without what only builds or serves other tests.
root=$VM_CACHE/root-tests
make_debian bookworm "$root" bind9-dnsutils,curl,dnsmasq-base,iproute2,kmod,libgcc-s1,mount,nftables,nginx-light,procps,python3,util-linux
[[ $VM_CACHE/root-tests.img -nt $root/.made-of ]] || make_disk "$root" "$VM_CACHE/root-tests.img" 300

payload=$work/payload
mkdir -p "$payload"/{tests,programs,modules}
objcopy --strip-debug "$binary" "$payload/netsonde"
install -m755 vm/in-kernel.sh "$payload/in-kernel.sh"
cp -r tests/programs/. "$payload/programs/"
realpath tests/programs >"$payload/sources"
# NAME PATH of each of them.
cargo test --locked --package netsonde-tests --no-run --message-format=json |
    python3 -c '
import json, sys
for line in sys.stdin:
    said = json.loads(line)
    if said.get("executable") and said["target"]["kind"] == ["test"]:
        print(said["target"]["name"], said["executable"])
' >"$work/built"
while read -r suite _; do
    [[ -n $suite && $suite != "#"* ]] || continue
    objcopy --strip-debug "$(awk -v suite="$suite" '$1 == suite { print $2 }' "$work/built")" "$payload/tests/$suite"
done < <(cat vm/suites*)
for program in tests/src/bin/*; do
    program=$(basename "$program" .rs)
    objcopy --strip-debug "$profile/$program" "$payload/$program"
done

failed=()
acceleration=
for version in "${versions[@]}"; do
    kernel=$VM_CACHE/kernels/$version
    make_initrd "$kernel" "$work/initrd"
    if [[ -z $acceleration ]]; then
        acceleration=$(choose_acceleration "$kernel" "$work/initrd")
        echo "machines run by $acceleration"
        patience_of "$acceleration" >"$payload/patience"
    fi
    rm -rf "$payload/modules" && mkdir "$payload/modules"
    cp -r "$kernel/lib/modules/$(release_of "$kernel")" "$payload/modules/"
    rm -f "$payload"/modules/*/vmlinuz
    suites=vm/suites
    [[ ! -e vm/suites-$version ]] || suites=vm/suites-$version
    suites=${NETSONDE_SUITES:-$suites}
    cp "$suites" "$payload/list"
    cp "vm/expected/$version.json" "$payload/expected.json" 2>/dev/null || echo '{}' >"$payload/expected.json"
    make_disk "$payload" "$work/payload.img" 50
    # With the kernel's own words, which are not shown.
    log=$VM_CACHE/logs/$version.log
    began=$SECONDS
    qemu_boot "$acceleration" "${VM_LIMIT:-2400}" "$kernel" "$work/initrd" "netsonde.script=/payload/in-kernel.sh" \
        -drive "file=$VM_CACHE/root-tests.img,format=raw,if=virtio,snapshot=on" \
        -drive "file=$work/payload.img,format=raw,if=virtio,snapshot=on" | show_console "$log" || true
    echo "== Linux $version took $((SECONDS - began)) s"
    grep --quiet '^netsonde-vm: exit 0' "$log" || failed+=("$version")
done
if [[ ${#failed[@]} -gt 0 ]]; then
    echo "failed on ${failed[*]}"
    exit 1
fi
echo "passed on ${versions[*]}"
