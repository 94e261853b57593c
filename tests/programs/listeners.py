"""Opens sockets of every kind that can receive unasked, says so in one line of JSON, and holds them until its input
ends.

usage: listeners.py [UDP_PORT]"""

import errno
import json
import os
import socket
import sys

held = []
told = []


def tell(kind, of, **facts):
    held.append(of)
    told.append({"kind": kind, **facts})


def bound(kind, family, transport, address, port=0, options=()):
    of = socket.socket(family, transport)
    for level, name, value in options:
        of.setsockopt(level, name, value)
    of.bind((address, port))
    if transport == socket.SOCK_STREAM:
        of.listen(7)
    name = of.getsockname()
    word = "tcp" if transport == socket.SOCK_STREAM else "udp"
    tell(kind, of, transport=word, address=name[0], port=name[1])
    return of


V4, V6 = socket.AF_INET, socket.AF_INET6
ONLY = (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
BOTH = (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
SHARED = (socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
DEVICE = (socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo\0")

for transport in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    bound("ipv4", V4, transport, "0.0.0.0")
    bound("loopback", V4, transport, "127.0.0.1")
    bound("ipv6", V6, transport, "::1", options=[ONLY])
    bound("v6only", V6, transport, "::", options=[ONLY])
    bound("dual-stack", V6, transport, "::", options=[BOTH])
    bound("device", V4, transport, "127.0.0.1", options=[DEVICE])
    first = bound("reuseport", V4, transport, "127.0.0.1", options=[SHARED])
    for _ in range(2):
        bound("reuseport", V4, transport, "127.0.0.1", first.getsockname()[1], options=[SHARED])

# Nobody binds this one: listen() chooses the port.
automatic = socket.socket(V4, socket.SOCK_STREAM)
automatic.listen(3)
tell("automatic", automatic, transport="tcp", address="0.0.0.0", port=automatic.getsockname()[1])

# Bound to a port that it asked for, and connected: takes datagrams of one peer.
taken = socket.socket(V4, socket.SOCK_DGRAM)
taken.bind(("127.0.0.1", 0))
port = taken.getsockname()[1]
taken.close()
connected = socket.socket(V4, socket.SOCK_DGRAM)
connected.bind(("127.0.0.1", port))
connected.connect(("127.0.0.1", 9))
tell("connected", connected, transport="udp", address="127.0.0.1", port=port)

# A client, which listens no more than any other: it must not be told of.
client = socket.socket(V4, socket.SOCK_DGRAM)
client.connect(("127.0.0.1", 9))
tell("client", client, transport="udp", address="127.0.0.1", port=client.getsockname()[1])

raw = socket.socket(V4, socket.SOCK_RAW, 253)  # for experiments (RFC 3692)
tell("raw", raw, transport="raw", protocol=253)
packet = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5))  # likewise (IEEE 802)
tell("packet", packet, transport="packet", protocol=0x88B5)

# The kernel may be without it.
try:
    sctp = socket.socket(V4, socket.SOCK_STREAM, socket.IPPROTO_SCTP)
    sctp.bind(("127.0.0.1", 0))
    sctp.listen(3)
    tell("sctp", sctp, transport="sctp", port=sctp.getsockname()[1])
except OSError as error:
    if error.errno not in (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT):
        raise

for port in sys.argv[1:]:
    bound("named", V4, socket.SOCK_DGRAM, "127.0.0.1", int(port))

print(json.dumps({"pid": os.getpid(), "sockets": told}), flush=True)
sys.stdin.read()
