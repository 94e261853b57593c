"""A server in one process.

usage: server.py HOST:PORT [PROTOCOL]"""

import socket
import sys

import common

listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
listener.bind(common.address(sys.argv[1]))
listener.listen(1024)
common.serve_alone(listener)
