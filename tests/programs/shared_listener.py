"""Listens on loopback and leaves the socket to children, which only hold it; says in one line of JSON when they are all
there, and ends with its input, and they with it.

usage: shared_listener.py CHILDREN"""

import json
import os
import signal
import socket
import sys

listener = socket.create_server(("127.0.0.1", 0))
holds, alive = os.pipe()
for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        os.close(alive)
        # Until the other end closes, if the parent is killed as well.
        os.read(holds, 1)
        os._exit(0)
# They need not be waited for one by one.
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
sys.stdin.read()
