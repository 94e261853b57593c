#!/usr/bin/env python3
"""Adds to a CycloneDX document what cargo does not know of: the C libraries that libbpf-sys carries and builds, and
musl, and the libraries of the web page. Arguments: the document, and what stands in it for the folder of the sources, which was made up for the build.
"""

import json
import re
import subprocess
import sys
from pathlib import Path


def version(file, pattern):
    """The first group of the pattern's first match."""
    found = re.search(pattern, file.read_text(errors="replace"))
    if not found:
        sys.exit(f"{file} does not say {pattern}")
    return found[1]


def main():
    document, folder = Path(sys.argv[1]), sys.argv[2]
    bill = json.loads(document.read_text().replace(f"file://{folder}/", "file:///netsonde/"))
    command = ["cargo", "metadata", "--locked", "--format-version=1"]
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    crate = next(p for p in metadata["packages"] if p["name"] == "libbpf-sys")
    sources = Path(crate["manifest_path"]).parent
    for name, number, licence in [
        ("libbpf", crate["version"].split("+v")[-1], "BSD-2-Clause"),
        ("zlib", version(sources / "zlib/zlib.h", r'#define ZLIB_VERSION "([^"]+)"'), "Zlib"),
        (
            "elfutils",
            version(sources / "elfutils/configure.ac", r"AC_INIT\(\[elfutils\],\[([^\]]+)\]"),
            "LGPL-3.0-or-later",
        ),
        # The one that Rust's target carries, which has no file that tells its version.
        ("musl", None, "MIT"),
    ]:
        component = {"type": "library", "name": name, "scope": "required"}
        component["bom-ref"] = f"pkg:generic/{name}" + (f"@{number}" if number else "")
        component["purl"] = component["bom-ref"]
        component["licenses"] = [{"expression": licence}]
        if number:
            component["version"] = number
        bill["components"].append(component)
    web = Path(__file__).parent.parent / "daemon/web"
    lock = json.loads((web / "package-lock.json").read_text())["packages"]
    for file in sorted((web / "vendor").glob("*.min.js")):
        name = file.name.removesuffix(".min.js")
        package = lock[f"node_modules/{name}"]
        purl = f"pkg:npm/{name}@{package['version']}"
        component = {"type": "library", "name": name, "version": package["version"], "scope": "required"}
        component |= {"bom-ref": purl, "purl": purl, "licenses": [{"expression": package["license"]}]}
        bill["components"].append(component)
    document.write_text(json.dumps(bill, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
