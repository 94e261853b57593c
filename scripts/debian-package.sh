#!/bin/bash
# Prints the folder of an unpacked package of a Debian suite, such as a server that a test runs: SUITE PACKAGE. It is
# fetched once into the target directory, with lists, cache and state of its own: nothing is installed, no service is
# started, and what apt knows of this host stays as it is. Exits with 3, and a word, if the suite has no such package.
set -euo pipefail
root=$(realpath "$(dirname "$0")/..")
suite=$1
package=$2

target=${CARGO_TARGET_DIR:-target}
[[ $target == /* ]] || target=$root/$target
work=$target/debian/$suite
unpacked=$work/$package
mkdir -p "$work"
# Two tests may want it at once.
exec 9>"$work/lock"
flock 9
if [[ -e $unpacked/.complete ]]; then
    echo "$unpacked"
    exit
fi

# The mirror that this host has its own packages from.
# shellcheck disable=SC2016
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/*$' || true)
[[ -n $mirror ]] || { echo "No mirror of Debian in this host's sources" >&2; exit 1; }
mkdir -p "$work"/apt/{lists/partial,cache/archives/partial,etc/preferences.d,etc/apt.conf.d}
touch "$work/apt/status"
cat >"$work/apt/debian.sources" <<END
Types: deb
URIs: $mirror
Suites: $suite
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
options=(
    -o "Dir::State=$work/apt" -o "Dir::State::status=$work/apt/status" -o "Dir::State::lists=$work/apt/lists"
    -o "Dir::Cache=$work/apt/cache" -o "Dir::Etc::sourcelist=$work/apt/debian.sources" -o "Dir::Etc::sourceparts=-"
    -o "Dir::Etc::preferencesparts=$work/apt/etc/preferences.d" -o "Dir::Etc::preferences=-"
    -o "Acquire::Languages=none" -o "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false"
    # Its own user may not enter the target directory.
    -o "APT::Sandbox::User="
)
log=$work/$package.log
# Several packages in a row need one update.
if [[ -z $(find "$work/apt/lists" -name '*_InRelease' -mmin -60) ]]; then
    if ! apt-get --quiet "${options[@]}" update >"$log" 2>&1; then
        cat "$log" >&2
        exit 1
    fi
    find "$work/apt/lists" -name '*_InRelease' -exec touch {} +
fi
if ! apt-cache "${options[@]}" show "$package" >/dev/null 2>&1; then
    echo "Debian $suite has no package $package for this machine" >&2
    exit 3
fi
rm -rf "$unpacked" "$work/apt/$package"
mkdir "$work/apt/$package"
if ! (cd "$work/apt/$package" && apt-get --quiet "${options[@]}" download "$package") >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
fi
dpkg -x "$work/apt/$package/$package"_*.deb "$unpacked"
rm -rf "$work/apt/$package"
touch "$unpacked/.complete"
echo "$unpacked"
