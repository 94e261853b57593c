"""Waits for a line, opens so many TCP listeners, says so, and holds them until its input ends."""

import json
import os
import resource
import socket
import sys

count = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (count + 64, count + 64))
print(json.dumps(os.getpid()), flush=True)
sys.stdin.readline()
held = []
for _ in range(count):
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    held.append(listener)
print(json.dumps(len(held)), flush=True)
sys.stdin.read()
