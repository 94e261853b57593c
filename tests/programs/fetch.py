"""HTTP requests, each on a connection of its own that the server closes.

usage: fetch.py HOST:PORT REQUESTS"""

import socket
import sys

import common

common.end_in_time()
connections = []
for number in range(int(sys.argv[2])):
    connection = socket.create_connection(common.address(sys.argv[1]))
    moved = common.nothing()
    request = f"GET /{number} HTTP/1.1\r\nHost: test\r\nX-Filler: {'x' * number}\r\nConnection: close\r\n\r\n"
    common.send(connection, request.encode(), moved)
    while part := connection.recv(65536):
        moved["received"] += len(part)
    connections.append({**common.ends(connection), **moved})
    connection.close()
common.say(common.report(common.chain(), connections))
