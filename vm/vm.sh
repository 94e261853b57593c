#!/bin/bash
# Sourced, after vm/apt.sh. Makes disks and initial file systems, and boots them under qemu.

# SUITE FOLDER PACKAGES: a Debian with nothing but these, made once.
make_debian() {
    [[ ! -e $2/.made-of || $(<"$2/.made-of") != "$1 $3" ]] || return 0
    rm -rf "$2"
    echo "making a Debian $1 in $2"
    mmdebstrap --quiet --mode=root --variant=minbase ${3:+--include="$3"} "$1" "$2"
    echo "$1 $3" >"$2/.made-of"
}

# FOLDER IMAGE MEGABYTES: a file system with what the folder has, and so much room beyond.
make_disk() {
    local used
    used=$(du --summarize --block-size=1M "$1" | cut -f1)
    rm -f "$2"
    mke2fs -q -t ext4 -O ^has_journal -m 0 -E root_owner=0:0 -d "$1" "$2" "$((used * 5 / 4 + $3))M"
}

# KERNEL: prints the release of a kernel that fetch_kernel() has unpacked.
release_of() { cat "$1/complete"; }

# KERNEL: prints the path of its image; from 7.x on that is beside the modules.
image_of() {
    local release
    release=$(release_of "$1")
    if [[ -e $1/boot/vmlinuz-$release ]]; then
        echo "$1/boot/vmlinuz-$release"
    else
        echo "$1/lib/modules/$release/vmlinuz"
    fi
}

# KERNEL INITRD: busybox, the modules that disks need, and vm/init.sh.
make_initrd() {
    local kernel=$1 initrd=$2 release folder module file
    release=$(release_of "$kernel")
    folder=$(mktemp --directory)
    mkdir -p "$folder"/{bin,dev,proc,sys,newroot,modules}
    cp /bin/busybox "$folder/bin/busybox"
    install -m755 vm/init.sh "$folder/init"
    # In the order in which they must be loaded; what is built in has no line of its own.
    for module in virtio_pci virtio_blk ext4 virtio_net; do
        modprobe --dirname "$kernel" --set-version "$release" --show-depends "$module" 2>/dev/null || true
    done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' | while read -r file; do
        module=$(basename "$file")
        case $file in
        *.xz) xz --decompress --stdout "$file" >"$folder/modules/${module%.xz}" ;;
        *.zst) zstd --quiet --decompress --stdout "$file" >"$folder/modules/${module%.zst}" ;;
        *) cp "$file" "$folder/modules/$module" ;;
        esac
        echo "${module%%.ko*}.ko" >>"$folder/modules/order"
    done
    (cd "$folder" && find . | cpio --quiet --create --format=newc --owner=0:0 | gzip --fast) >"$initrd"
    rm -rf "$folder"
}

# ACCELERATION SECONDS KERNEL INITRD WORDS [QEMU ARGUMENTS...]: boots and waits for the end; the serial console is
# standard output. Fails when the guest had to be ended.
qemu_boot() {
    local acceleration=$1 limit=$2 kernel=$3 initrd=$4 words=$5
    shift 5
    local qemu=$VM_CACHE/qemu cpu=max
    [[ $acceleration != kvm ]] || cpu=host
    LD_LIBRARY_PATH=$qemu/usr/lib/x86_64-linux-gnu:$qemu/lib/x86_64-linux-gnu \
        timeout --kill-after=5 "$limit" "$qemu/usr/bin/qemu-system-x86_64" \
        -L "$qemu/usr/share/qemu" -L "$qemu/usr/share/seabios" \
        -accel "$([[ $acceleration == kvm ]] && echo kvm || echo tcg,thread=multi)" \
        -machine q35 -cpu "$cpu" -smp 2 -m "${VM_MEMORY:-1536}" -nodefaults -no-user-config -nographic -no-reboot \
        -serial stdio -kernel "$(image_of "$kernel")" -initrd "$initrd" \
        -append "console=ttyS0 panic=-1 quiet loglevel=4 $words" "$@" </dev/null 2>&1
}

# KERNEL INITRD: prints kvm or tcg, by a trial. /dev/kvm may be there and its guests die all the same.
choose_acceleration() {
    # In a shell of its own, so that nobody hears of how it died.
    if [[ -w /dev/kvm ]] && { (qemu_boot kvm 20 "$1" "$2" netsonde.trial) || true; } 2>/dev/null |
        tr -d '\r' | grep --quiet '^netsonde-trial: alive'; then
        echo kvm
    else
        echo tcg
    fi
}

# Why virtual machines cannot be had here; nothing when they can.
why_no_vm() {
    if [[ $(uname -m) != x86_64 ]]; then
        echo "kernels and qemu are fetched for x86_64 only"
    elif ! command -v apt-get dpkg >/dev/null; then
        echo "kernels and qemu come from Debian's packages, and this is no Debian"
    elif [[ $(id -u) -ne 0 ]]; then
        echo "disks are made as root"
    fi
}

# NAME: ends the script that asks where there can be no machine, with a word of why.
leave_without_vm() {
    local why
    why=$(why_no_vm)
    [[ -n $why ]] || return 0
    echo "$1: skipped, $why"
    exit 0
}

# ACCELERATION: how many times as long as a real processor an emulated one may take.
patience_of() { if [[ $1 == kvm ]]; then echo 1; else echo 6; fi; }

# LOG: keeps what a console says on standard input, and shows it but for the firmware's words and the kernel's.
show_console() {
    sed -u 's/\r$//' | tee "$1" | grep --line-buffered -vE '^\[|SeaBIOS|Booting from'
}
