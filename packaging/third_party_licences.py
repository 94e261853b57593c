#!/usr/bin/env python3
"""Writes the licences of everything that is linked into netsonde's binary, with their texts, to standard output.

Argument: the target triple. The crates are those that cargo's own resolution links for that target; build scripts'
and tests' are not among them. A crate without a text of its own gets that of another one under the same licence.
"""

import json
import subprocess
import sys
from pathlib import Path

TEXTS = ("LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE")
# Sources that crates carry and build: the crate, what it is, its licence, where the texts are.
BUNDLED = [
    ("libbpf-sys", "libbpf", "LGPL-2.1-only OR BSD-2-Clause", ["libbpf/LICENSE.BSD-2-Clause"]),
    ("libbpf-sys", "zlib", "Zlib", ["zlib/LICENSE"]),
    (
        "libbpf-sys",
        "elfutils (libelf)",
        "LGPL-3.0-or-later OR GPL-2.0-or-later",
        ["elfutils/COPYING-LGPLV3", "elfutils/COPYING", "elfutils/COPYING-GPLV2"],
    ),
]
MUSL = Path("/usr/share/doc/musl-dev/copyright")
# What the web page carries: each file NAME.min.js of daemon/web/vendor has its licence beside it as NAME.LICENSE, and
# its version in the lock file that scripts/check-web.sh holds it to.
WEB = Path(__file__).parent.parent / "daemon/web"


def linked(metadata):
    """The packages that are linked: normal dependencies, from netsonde down."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = next(p["id"] for p in metadata["packages"] if p["name"] == "netsonde")
    seen, queue = set(), [root]
    while queue:
        node = queue.pop()
        if node in seen:
            continue
        seen.add(node)
        for dependency in nodes[node]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                queue.append(dependency["pkg"])
    # Macros run in the compiler; what they call at run time is linked by itself.
    return [
        p
        for p in metadata["packages"]
        if p["id"] in seen and p["source"] and not any("proc-macro" in t["kind"] for t in p["targets"])
    ]


def texts_of(folder):
    """Every file at the top of a crate that looks like a licence."""
    files = sorted(f for f in folder.iterdir() if f.is_file() and f.name.upper().startswith(TEXTS))
    return [f.read_text(errors="replace").strip() for f in files]


def vendored():
    """Name, version, licence and the licence's text of each library of the web page."""
    lock = json.loads((WEB / "package-lock.json").read_text())["packages"]
    for file in sorted((WEB / "vendor").glob("*.min.js")):
        name = file.name.removesuffix(".min.js")
        package = lock[f"node_modules/{name}"]
        yield name, package["version"], package["license"], (WEB / f"vendor/{name}.LICENSE").read_text().strip()


def main():
    target = sys.argv[1]
    command = ["cargo", "metadata", "--locked", "--format-version=1", "--filter-platform", target]
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    packages = sorted(linked(metadata), key=lambda p: (p["name"], p["version"]))

    users, without = {}, []
    lines = []
    for package in packages:
        name = f"{package['name']} {package['version']}"
        lines.append(f"{name}: {package['license']}  {package['repository'] or ''}".rstrip())
        folder = Path(package["manifest_path"]).parent
        texts = texts_of(folder)
        if not texts:
            without.append((name, package["license"]))
        for text in texts:
            users.setdefault(text, []).append(name)
        for crate, what, licence, files in BUNDLED:
            if crate == package["name"]:
                lines.append(f"{what}, in {name}: {licence}")
                found = [folder / f for f in files if (folder / f).is_file()]
                if not found:
                    sys.exit(f"no text of the licence of {what} under {folder}")
                for file in found:
                    users.setdefault(file.read_text(errors="replace").strip(), []).append(what)
    if "musl" in target:
        lines.append("musl: MIT  https://musl.libc.org")
        users.setdefault(MUSL.read_text().strip(), []).append("musl")
    for name, version, licence, text in vendored():
        lines.append(f"{name} {version}, in the web page: {licence}  https://www.npmjs.com/package/{name}")
        users.setdefault(text, []).append(f"{name} {version}")
    lines.append("The Rust standard library: MIT OR Apache-2.0  https://github.com/rust-lang/rust")

    print("What is linked into netsonde, with its licence in the terms of SPDX\n")
    print("\n".join(lines))
    if without:
        print("\nThese carry no text of their own; that of their licence is below, with others under it:")
        print("\n".join(f"{name}: {licence}" for name, licence in without))
    for text, names in sorted(users.items(), key=lambda item: (item[1], item[0])):
        print("\n" + "=" * 100 + "\n" + ", ".join(names) + "\n" + "=" * 100 + "\n")
        print(text)


if __name__ == "__main__":
    main()
