#!/bin/bash
# Sourced. Debian packages of other releases, by an apt of our own: its lists, state and cache are in the target
# directory, and the host's stay as they are.

# Where all of it is kept from one run to the next.
VM_CACHE=$(realpath -m "${CARGO_TARGET_DIR:-target}")/vm

# Where Debian is had from: as the host has it.
debian_mirror() {
    local uri
    uri=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
        grep -oE 'https?://[^ ]+/debian/?( |$)' | head -1 | tr -d ' ') || true
    echo "${uri:-http://deb.debian.org/debian}"
}

# NAME: the configuration of a private apt called NAME, whose sources are on standard input. Its idea of what is
# installed is the host's for `beside`, and nothing at all for any other name.
make_apt() {
    local apt=$VM_CACHE/apt/$1
    mkdir -p "$apt"/{lists/partial,archives/partial,sources.d,preferences.d,state}
    cat >"$apt/sources.list"
    if [[ $1 == beside ]]; then
        ln -sfn /var/lib/dpkg/status "$apt/status"
    else
        : >"$apt/status"
    fi
    cat >"$apt/apt.conf" <<END
Dir::State "$apt/state";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt";
Dir::Cache::archives "$apt/archives";
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "$apt/sources.d";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "$apt/preferences.d";
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
Acquire::Retries "3";
APT::Sandbox::User "root";
Debug::NoLocking "true";
END
}

# NAME COMMAND...: apt-get, apt-cache and their like with that configuration.
private_apt() {
    local apt=$VM_CACHE/apt/$1
    shift
    APT_CONFIG=$apt/apt.conf "$@"
}

# NAME: its lists, fetched at most once a day.
update_apt() {
    local stamp=$VM_CACHE/apt/$1/updated
    if [[ -n $(find "$stamp" -newer "$VM_CACHE/apt/$1/sources.list" -mmin -1440 2>/dev/null) ]]; then
        return 0
    fi
    private_apt "$1" apt-get update -qq && touch "$stamp"
}

debian_keys=/usr/share/keyrings/debian-archive-keyring.gpg

# Prints the folder of a qemu, unpacked with all that it needs and the host lacks. Bookworm's own 7.2 crashed guests with
# two processors when BPF programs were attached; the 10 of its backports did not.
fetch_qemu() {
    local into=$VM_CACHE/qemu
    if [[ ! -e $into/complete ]]; then
        make_apt beside <<END
deb [signed-by=$debian_keys] $(debian_mirror) bookworm main
deb [signed-by=$debian_keys] $(debian_mirror) bookworm-backports main
END
        update_apt beside >&2
        rm -rf "$into" "$VM_CACHE/apt/beside/archives"
        mkdir -p "$into" "$VM_CACHE/apt/beside/archives/partial"
        private_apt beside apt-get install --quiet=2 --yes --download-only --no-install-recommends \
            --target-release bookworm-backports qemu-system-x86 >&2
        local package
        for package in "$VM_CACHE"/apt/beside/archives/*.deb; do
            dpkg --extract "$package" "$into"
        done
        rm -rf "$VM_CACHE/apt/beside/archives"
        touch "$into/complete"
    fi
    echo "$into"
}

# VERSION, such as 6.12: prints the folder of Debian's newest cloud kernel of that line, unpacked: boot/vmlinuz-RELEASE
# and lib/modules/RELEASE. A kernel that is there already is looked for anew after a week.
fetch_kernel() {
    local version=$1 into=$VM_CACHE/kernels/$1
    if [[ -z $(find "$into/complete" -mtime -7 2>/dev/null) ]]; then
        make_apt kernels <<END
deb [signed-by=$debian_keys] $(debian_mirror)-security bullseye-security main
deb [signed-by=$debian_keys] $(debian_mirror)-security bookworm-security main
deb [signed-by=$debian_keys] $(debian_mirror)-security trixie-security main
deb [signed-by=$debian_keys] $(debian_mirror) trixie-backports main
deb [signed-by=$debian_keys] $(debian_mirror) forky main
END
        update_apt kernels >&2
        local image release archives=$VM_CACHE/apt/kernels/archives package
        # Backports of a line to an older Debian are left out: +deb12 and deb11 are built by an older compiler.
        image=$(private_apt kernels apt-cache pkgnames "linux-image-$version." | grep -E -- '-cloud-amd64$' |
            grep -vE '6\.12.*\+deb12|6\.1\..*deb11' | sort --version-sort | tail -1)
        [[ -n $image ]] || { echo "Debian has no cloud kernel $version" >&2; return 1; }
        release=${image#linux-image-}
        if [[ ! -e $into/complete || $(<"$into/complete") != "$release" ]]; then
            rm -rf "$into" "$archives"
            mkdir -p "$into" "$archives/partial"
            local wanted=("$image")
            # From 7.x on an image is several packages.
            for package in "linux-binary-$release" "linux-modules-$release"; do
                if private_apt kernels apt-cache show "$package" >/dev/null 2>&1; then
                    wanted+=("$package")
                fi
            done
            (cd "$archives" && private_apt kernels apt-get download --quiet=2 "${wanted[@]}") >&2
            for package in "$archives"/*.deb; do
                dpkg --extract "$package" "$into"
            done
            rm -rf "$archives"
            # From trixie on modules are below /usr.
            if [[ ! -d $into/lib/modules ]]; then
                mkdir -p "$into/lib" && mv "$into/usr/lib/modules" "$into/lib/modules"
            fi
            depmod --basedir "$into" "$release"
            echo "$release" >"$into/complete"
        fi
        touch "$into/complete"
    fi
    echo "$into"
}
