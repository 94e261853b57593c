"""Processes that each have a listener of their own, all on one port (SO_REUSEPORT in socket(7)).

usage: reuse_port.py PROCESSES"""

import os
import signal
import socket
import sys

import common


def bound():
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    one.bind(name)
    return one


def work(_):
    listener = bound()
    listener.listen(1024)
    # accept() is tried again after a signal, and fails then.
    signal.signal(signal.SIGTERM, lambda *_: listener.shutdown(socket.SHUT_RD))
    os.write(ready_writer, b".")
    return common.accept_all(listener)


def all_listen():
    os.close(ready_writer)
    for _ in range(count):
        os.read(ready_reader, 1)


count = int(sys.argv[1])
ready_reader, ready_writer = os.pipe()
# Holds the port and never listens, so it gets no connections.
name = ("127.0.0.1", 0)
holder = bound()
name = holder.getsockname()
common.serve_with_workers(
    count, work, name, lambda pids: [os.kill(pid, signal.SIGTERM) for pid in pids], all_listen
)
