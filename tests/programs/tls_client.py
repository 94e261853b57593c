"""Connects and says the first message of TLS, as Python's own TLS has it; whoever is there need not speak TLS.

usage: tls_client.py ADDRESS PORT NAME [PROTOCOL...]"""

import socket
import ssl
import sys

import common


def main():
    common.end_in_time()
    address, port, name, protocols = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:]
    context = ssl.create_default_context()
    if protocols:
        context.set_alpn_protocols(protocols)
    with socket.create_connection((address, port)) as connection:
        ends = {"local": connection.getsockname(), "peer": connection.getpeername()}
        try:
            context.wrap_socket(connection, server_hostname=name)
        except (ssl.SSLError, ConnectionError):
            pass  # the other end hangs up
    common.say({**{end: common.end_point(name) for end, name in ends.items()}, **common.report(common.chain())})


main()
