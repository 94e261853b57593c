"""A service manager that starts a process for each connection, as systemd-socket-activate --accept does, whose name it
has. It is slow to close its own copy: sweeps meet both that hold the connection.

usage: start_each.py CONNECTIONS"""

import json
import os
import socket
import sys
import time

import common

# Twice as long as it takes until a sweep has found who holds a socket.
HELD_BY_BOTH_SECONDS = 3


def name_oneself(name):
    with open("/proc/self/comm", "w") as comm:
        comm.write(name)


def serve(connection, channel):
    """The started process's part: it has the connection for itself only before it closes it."""
    name_oneself("started")
    where, moved = common.ends(connection), common.nothing()
    common.answer(connection, moved)
    time.sleep(HELD_BY_BOTH_SECONDS)
    channel.send(b".")
    channel.recv(1)
    connection.close()
    with channel.makefile("w") as output:
        json.dump(common.report(common.chain(), [{**where, **moved}]), output)


common.end_in_time()
name_oneself("systemd-socket-activate")
listener = socket.create_server(("127.0.0.1", 0))
common.say({"address": common.end_point(listener.getsockname()), "pids": [os.getpid()]})
started = []
for _ in range(int(sys.argv[1])):
    connection, _ = listener.accept()
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        common.end_in_time()
        listener.close()
        for other, channel, kept in started:
            channel.close()
            kept.close()
        ours.close()
        serve(connection, theirs)
        os._exit(0)
    theirs.close()
    started.append((pid, ours, connection))
reports = []
for pid, channel, connection in started:
    channel.recv(1)
    connection.close()
    channel.send(b".")
    with channel.makefile() as file:
        reports.append(json.load(file))
    os.waitpid(pid, 0)
sys.stdin.read()
common.say(common.report(common.chain(), workers=reports))
