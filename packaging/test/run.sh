#!/bin/bash
# Builds the packages, lints them, and tries them: in a Debian under systemd-nspawn on this kernel, with real systemd and
# real eBPF, and the binary on the oldest Debian that is still to be had. Needs root.
set -euo pipefail
cd "$(dirname "$0")/../.."

out=$(realpath -m "${CARGO_TARGET_DIR:-target}")
packages=$out/packages
work=$out/test-packages
mkdir -p "$work"

# SUITE FOLDER PACKAGES: a Debian with nothing but these, made once.
debian() {
    [[ ! -e $2/.made-of || $(<"$2/.made-of") != "$1 $3" ]] || return 0
    rm -rf "$2"
    echo "Making a Debian $1 in $2"
    mmdebstrap --quiet --mode=root --variant=minbase ${3:+--include="$3"} "$1" "$2"
    echo "$1 $3" >"$2/.made-of"
}

# NETSONDE_BINARY may name one that scripts/build-static.sh made before.
NETSONDE_BINARY=${NETSONDE_BINARY:-$(scripts/build-static.sh)}
export NETSONDE_BINARY
rm -f "$packages"/netsonde*
# The second is what the first is upgraded to.
for release in 1 2; do
    NETSONDE_RELEASE=$release scripts/build-packages.sh deb rpm
done

echo "== the unit"
# Both say what is wrong on standard error and exit with 0.
checked=$(mktemp --directory)
trap 'rm -rf "$checked"' EXIT
# Programs and pages that are not installed here are no fault of the unit.
sed -e 's|/usr/bin/netsonde|/bin/true|' -e '/^Documentation=/d' systemd/netsonde.service >"$checked/netsonde.service"
said=$(systemd-analyze verify "$checked/netsonde.service" 2>&1) || true
[[ -z $said ]] || { echo "$said"; exit 1; }
systemd-analyze security --no-pager --offline=yes --threshold=25 systemd/netsonde.service | tail -1

echo "== lint"
lintian --fail-on=error,warning --info --allow-root "$packages"/netsonde_*-1_*.deb
rpmlint --config packaging/rpm/rpmlint.toml "$packages"/netsonde-*-1.*.rpm

echo "== on an old Debian"
debian bullseye "$work/bullseye" ""
install -m755 "$NETSONDE_BINARY" "$work/bullseye/usr/bin/netsonde"
chroot "$work/bullseye" netsonde --version
chroot "$work/bullseye" netsonde check-config --quiet

echo "== in a Debian under systemd-nspawn"
debian bookworm "$work/bookworm" \
    systemd,systemd-sysv,dbus,ca-certificates,curl,python3-minimal,libpython3-stdlib,rpm,dnf
rm -rf "$work/packages"
packaging/test/fill.sh "$work/packages"
scripts/in-nspawn.sh "$work/bookworm" "$work/packages"
