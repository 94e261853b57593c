#!/usr/bin/env python3
"""Writes the dashboards, dashboards/*.json, from what source/ says of them.

usage: generate.py [--check]

With --check nothing is written: it fails, and names the files, if they are not what would be."""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE / "source"))

import datagrams  # noqa: E402
import host  # noqa: E402
import service_map  # noqa: E402
import tcp  # noqa: E402

ALL = [
    tcp.tcp_throughput,
    tcp.tcp_latency,
    datagrams.udp,
    datagrams.dns,
    host.listening_ports,
    service_map.service_map,
    host.itself,
]


def main():
    check = sys.argv[1:] == ["--check"]
    folder = HERE / "dashboards"
    files = {}
    for make in ALL:
        page = make()
        name = page["uid"].removeprefix("netsonde-")
        files[folder / f"{name}.json"] = json.dumps(page, indent=2, ensure_ascii=False) + "\n"
    if check:
        wrong = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
        wrong += set(folder.glob("*")) - set(files)
        for path in wrong:
            print(f"{path} is not what generate.py writes", file=sys.stderr)
        return 1 if wrong else 0
    for path in set(folder.glob("*.json")) - set(files):
        path.unlink()
    for path, text in files.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
