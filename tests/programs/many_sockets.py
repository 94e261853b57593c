"""Holds listeners and connected pairs on loopback, says so in one line of JSON, and ends with its input.

usage: many_sockets.py LISTENERS PAIRS"""

import json
import os
import resource
import socket
import sys

_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
count, pairs = map(int, sys.argv[1:])
listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
ends = []
for number in range(pairs):
    listener = listeners[number % count]
    client = socket.create_connection(listener.getsockname())
    ends += [client, listener.accept()[0]]
ports = [listener.getsockname()[1] for listener in listeners]
print(json.dumps({"pid": os.getpid(), "ports": ports, "sockets": count + len(ends)}), flush=True)
sys.stdin.read()
