"""A program that does with UDP sockets what it is told, one JSON object a line, and answers each with one line: what
its own system calls returned. A socket is named by its descriptor. It ends at the end of its standard input.

usage: datagrams.py"""

import ctypes
import json
import os
import socket
import struct
import sys

import common

UDP_SEGMENT = 103
UDP_GRO = 104
# Longer than anything that is still under way on one host.
PATIENCE_SECONDS = 5
# For the size of what UDP_GRO joined.
NOTES_BYTES = 64
# include/uapi/asm-generic/socket.h
SO_ATTACH_FILTER = 26
# Of a datagram's length for a socket filter.
UDP_HEADER = 8
NOTHING = {"sent": 0, "sent_bytes": 0, "received": 0, "received_bytes": 0}


def read_line():
    """Byte by byte: a child, or the next program, goes on reading where this one stops."""
    line = b""
    while (byte := os.read(0, 1)) not in (b"\n", b""):
        line += byte
    return line


def held(descriptor):
    """The socket of a descriptor, which stays open when this object goes."""
    return socket.socket(fileno=os.dup(descriptor))


def to_address(text):
    return common.address(text) if text else None


def open_socket(order):
    family = socket.AF_INET6 if order["family"] == "ipv6" else socket.AF_INET
    one = socket.socket(family, socket.SOCK_DGRAM)
    for level, name, value in order["options"]:
        one.setsockopt(level, name, bytes.fromhex(value) if isinstance(value, str) else value)
    if order["bind"]:
        one.bind(to_address(order["bind"]))
    if order["connect"]:
        one.connect(to_address(order["connect"]))
    local = common.end_point(one.getsockname())
    return {"socket": one.detach(), "local": local}


def send_one(one, data, to):
    """How many datagrams that are, and bytes."""
    sent = one.sendto(data, to) if to else one.send(data)
    size = one.getsockopt(socket.IPPROTO_UDP, UDP_SEGMENT)
    return max(1, -(-sent // size) if size else 1), sent


def send(order):
    to, prefix, done = to_address(order["to"]), bytes.fromhex(order["prefix"]), dict(NOTHING)
    with held(order["socket"]) as one:
        for size in order["sizes"]:
            count, sent = send_one(one, prefix[:size] + bytes(max(0, size - len(prefix))), to)
            done["sent"] += count
            done["sent_bytes"] += sent
    return done


def receive_some(one):
    """One call: data, how many datagrams it holds, from where."""
    data, notes, _, peer = one.recvmsg(1 << 17, NOTES_BYTES)
    count = 1
    for level, kind, value in notes:
        if (level, kind) == (socket.IPPROTO_UDP, UDP_GRO):
            count = -(-len(data) // struct.unpack("i", value)[0])
    return data, count, peer


def receive(order):
    """So many datagrams, or, for nothing, all that come until there are none for a moment; sent back if asked to."""
    done, wanted = dict(NOTHING), order["count"]
    with held(order["socket"]) as one:
        one.settimeout(PATIENCE_SECONDS if wanted else 0.3)
        while wanted is None or done["received"] < wanted:
            try:
                data, count, peer = receive_some(one)
            except TimeoutError:
                if wanted is None:
                    break
                raise
            done["received"] += count
            done["received_bytes"] += len(data)
            if order["echo"]:
                count, sent = send_one(one, data, peer)
                done["sent"] += count
                done["sent_bytes"] += sent
        one.settimeout(None)
    return done


def drops(order):
    """The last column of its socket's line in /proc/net/udp."""
    inode = str(os.fstat(order["socket"]).st_ino)
    for name in ("udp", "udp6"):
        with open(f"/proc/self/net/{name}") as file:
            for line in file.readlines()[1:]:
                words = line.split()
                if words[9] == inode:
                    return int(words[12])
    raise KeyError(inode)


def refuse(order):
    """A filter of the classic kind that refuses datagrams of more bytes than these (socket(7), SO_ATTACH_FILTER)."""
    program = [
        (0x80, 0, 0, 0),  # ld len
        (0x25, 0, 1, order["above"] + UDP_HEADER),  # jgt #above
        (0x06, 0, 0, 0),  # ret #0
        (0x06, 0, 0, 0xFFFFFFFF),  # ret #-1
    ]
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in program))
    whole = struct.pack("HP", len(program), ctypes.addressof(instructions))
    with held(order["socket"]) as one:
        one.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, whole)
    return NOTHING


STOWED = {}


def stow(order):
    """Nobody holds it: it is on its way from this process to this process (unix(7), SCM_RIGHTS)."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    socket.send_fds(near, [b"x"], [order["socket"]])
    os.close(order["socket"])
    STOWED[order["socket"]] = (near, far)
    return NOTHING


def fetch(order):
    """It is here again, by the same descriptor."""
    near, far = STOWED.pop(order["socket"])
    (received,) = socket.recv_fds(far, 1, 1)[1]
    if received != order["socket"]:
        os.dup2(received, order["socket"])
        os.close(received)
    return NOTHING


def swarm(order):
    """Children, one after the other, that each open a socket, send, and end; every second one closes it first."""
    to, children = to_address(order["to"]), []
    for number in range(order["children"]):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sizes = [number, 10, 1000]
            sent = sum(one.sendto(bytes(size), to) for size in sizes)
            if number % 2:
                one.close()
            os.write(writer, json.dumps({**NOTHING, "sent": len(sizes), "sent_bytes": sent}).encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as file:
            children.append([pid, json.load(file)])
        os.waitpid(pid, 0)
        # The server is another process and reads when it is told to: its buffer has room for so many.
        if number % 50 == 49:
            common.say(children)
            children = []
            read_line()
    return children


def orphan(_):
    """A child goes on, and this process ends."""
    reader, writer = os.pipe()
    if os.fork():
        os._exit(0)
    common.end_in_time()
    os.close(writer)
    os.read(reader, 1)  # its parent has ended
    return common.report(common.chain())


def become(order):
    """Another program with the same sockets, which goes on by itself."""
    for descriptor in order["sockets"]:
        os.set_inheritable(descriptor, True)
    os.execv(order["program"], [order["program"], *sys.argv])


def close(order):
    os.close(order["socket"])
    return NOTHING


ACTS = {
    "open": open_socket,
    "send": send,
    "receive": receive,
    "drops": drops,
    "swarm": swarm,
    "orphan": orphan,
    "become": become,
    "close": close,
    "refuse": refuse,
    "stow": stow,
    "fetch": fetch,
}


def main():
    common.end_in_time()
    common.say(common.report(common.chain()))
    while line := read_line():
        order = json.loads(line)
        common.say(ACTS[order["act"]](order))
    # Before the end of standard output tells that this has ended.
    os.closerange(3, 1024)


main()
