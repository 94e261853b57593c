"""Opens and closes connections to itself on loopback, so many a second, says in one line of JSON that it has begun, and
ends with its input: then in another how many there were, and in how many seconds.

usage: paced.py RATE"""

import json
import select
import socket
import sys
import time

# How unevenly it goes: what is due comes together so often.
TICK = 0.005

rate = float(sys.argv[1])
listener = socket.create_server(("127.0.0.1", 0), backlog=16)
address = listener.getsockname()
print(json.dumps({"pace": rate}), flush=True)
begin, done, pause = time.monotonic(), 0, TICK
while not select.select([sys.stdin], [], [], pause)[0]:
    late = int((time.monotonic() - begin) * rate) - done
    most = int(4 * TICK * rate) + 1
    for _ in range(min(late, most)):
        client = socket.socket()
        client.connect(address)
        server = listener.accept()[0]
        client.send(b"request")
        server.recv(100)
        client.close()
        server.close()
        done += 1
    pause = 0 if late > most else TICK
print(json.dumps({"connections": done, "seconds": time.monotonic() - begin}), flush=True)
