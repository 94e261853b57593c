"""A pre-fork TCP server: workers are forked after listen(), so every socket they accept descends from a listener
that another process opened. Speaks the protocol and prints the JSON lines of the traffic program.

usage: prefork.py WORKERS"""

import socket
import sys

import common

listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
common.serve_with_workers(
    int(sys.argv[1]),
    lambda _: common.accept_all(listener),
    listener.getsockname(),
    lambda _: listener.shutdown(socket.SHUT_RD),  # wakes every worker
)
