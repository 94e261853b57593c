#!/bin/bash
# Builds packages into target/packages: deb, rpm or both, as the arguments say. Version and texts are those of the
# sources; NETSONDE_RELEASE (1) is what Debian calls the revision and RPM the release. NETSONDE_BINARY names a binary
# that was built before by scripts/build-static.sh; else it is built.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(uname -m)-unknown-linux-musl
out=${CARGO_TARGET_DIR:-target}
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
release=${NETSONDE_RELEASE:-1}
# One moment for all files, so that two builds of one commit are equal.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}

if [[ -n ${NETSONDE_BINARY:-} ]]; then
    binary=$out/$target/dist/netsonde
    if [[ ! $NETSONDE_BINARY -ef $binary ]]; then
        # Where the packagers look for it.
        install -D -m 755 "$NETSONDE_BINARY" "$binary"
    fi
else
    binary=$(scripts/build-static.sh)
fi
echo "static binary: $binary ($(stat --format=%s "$binary") bytes)"

# What both packages carry besides the binary; daemon/Cargo.toml names the files from here.
stage=packaging/stage
rm -rf "$stage"
mkdir -p "$stage/man" "$stage/completions" "$out/packages"
cp packaging/generated/man/* "$stage/man/"
cp packaging/generated/completions/* "$stage/completions/"
cp CHANGELOG.md "$stage/changelog"
packaging/third_party_licences.py "$target" >"$stage/third-party-licences"
gzip --best --no-name "$stage"/man/* "$stage/changelog" "$stage/third-party-licences"
cat >"$stage/changelog.Debian" <<EOF
netsonde ($version-$release) unstable; urgency=medium

  * What is new is in changelog.gz.

 -- netsonde developers <maintainers@netsonde.example>  $(LC_ALL=C date --utc --rfc-email --date="@$SOURCE_DATE_EPOCH")
EOF

for kind in "$@"; do
    case $kind in
    deb)
        scripts/cargo-tool.sh cargo-deb 3.8.0 --package netsonde --no-build --no-strip --profile dist \
            --target "$target" --deb-revision "$release" --output "$out/packages/"
        ;;
    rpm)
        # The packager moves times that are later than that moment to it, and leaves earlier ones, which differ from
        # one checkout to the next: so it is given files of this minute.
        touch "$binary"
        fresh=$(mktemp --directory)
        trap 'rm -rf "$fresh"' EXIT
        cp --recursive --parents Cargo.toml daemon/Cargo.toml config packaging systemd LICENSE LICENSES "$fresh"
        folder=$(realpath "$out")
        (cd "$fresh" && "$OLDPWD/scripts/cargo-tool.sh" cargo-generate-rpm 0.21.1 --package daemon --profile dist \
            --target-dir "$folder" --target "$target" --auto-req no --payload-compress zstd \
            --source-date "$SOURCE_DATE_EPOCH" --set-metadata "release = \"$release\"" --output "$folder/packages/")
        ;;
    *)
        echo "unknown kind of package: $kind" >&2
        exit 2
        ;;
    esac
done
