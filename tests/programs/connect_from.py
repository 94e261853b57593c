"""Connects to a server from each of some addresses of this host, one after the other, and ends the connections.

usage: connect_from.py ADDRESS:PORT SOURCE..."""

import json
import socket
import sys

host, port = sys.argv[1].rsplit(":", 1)
for source in sys.argv[2:]:
    socket.create_connection((host, int(port)), timeout=10, source_address=(source, 0)).close()
print(json.dumps({"connections": len(sys.argv) - 2}), flush=True)
