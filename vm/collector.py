#!/usr/bin/env python3
"""A collector on the host's side, for a netsonde in a virtual machine: takes OTLP over HTTP and writes one line of JSON for
each log record, with the name of its event and its attributes. It reads the wire format of Protocol Buffers by itself and
shares nothing with netsonde. Arguments: a file for what it takes, and one for the port that it listens on."""

import gzip
import http.server
import json
import sys

LOGS = "/v1/logs"


def fields(data):
    """The fields of a message: number and value, which is bytes or a number (protobuf.dev/programming-guides/encoding)."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        key = varint()
        number, kind = key >> 3, key & 7
        if kind == 0:
            yield number, varint()
        elif kind == 2:
            length = varint()
            yield number, data[at : at + length]
            at += length
        else:
            size = 8 if kind == 1 else 4
            yield number, int.from_bytes(data[at : at + size], "little")
            at += size


def inside(data, *path):
    """All that a path of field numbers leads to."""
    if not path:
        yield data
        return
    for number, value in fields(data):
        if number == path[0]:
            yield from inside(value, *path[1:])


def value_of(data):
    for number, value in fields(data):
        return value.decode() if number == 1 else value if number == 3 else None
    return None


def attributes(data, number):
    """Of type repeated KeyValue; texts and whole numbers only."""
    found = {}
    for pair in inside(data, number):
        parts = dict(fields(pair))
        found[parts[1].decode()] = value_of(parts.get(2, b""))
    return found


def records(body):
    # ExportLogsServiceRequest.resource_logs.scope_logs.log_records
    for record in inside(body, 1, 2, 2):
        names = [name.decode() for name in inside(record, 12)]
        found = attributes(record, 6)
        yield {"event": names[0] if names else found.get("event.name"), **found}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        with open(sys.argv[1], "a") as output:
            if self.path == LOGS:
                for record in records(body):
                    print(json.dumps(record), file=output)
            else:
                print(json.dumps({"event": None, "path": self.path, "bytes": len(body)}), file=output)
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with open(sys.argv[2], "w") as port:
        print(server.server_port, file=port)
    server.serve_forever()
