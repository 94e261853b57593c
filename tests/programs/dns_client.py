"""A program that asks name servers what it is told, one JSON object a line, and answers each with one line: what came
back, and how long that took by its own clocks. It ends at the end of its standard input.

usage: dns_client.py"""

import json
import os
import random
import select
import socket
import struct
import sys
import time

import common
import dns_messages as dns

# include/uapi/asm-generic/socket.h
SO_TIMESTAMPNS = 35
NOTES_BYTES = 128


def datagram_socket(server):
    family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
    one = socket.socket(family, socket.SOCK_DGRAM)
    # The kernel then tells when a datagram arrived, however late this process is given a processor.
    one.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    return one


def receive(one):
    """A datagram, when this process had it, and how long it had lain there."""
    data, notes, _, _ = one.recvmsg(65535, NOTES_BYTES)
    had, now = time.perf_counter(), time.clock_gettime_ns(time.CLOCK_REALTIME)
    arrived = now
    for level, kind, value in notes:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, nanoseconds = struct.unpack("qq", value)
            arrived = seconds * 10**9 + nanoseconds
    return data, had, (now - arrived) / 1e9


class Exchange:
    """One query over UDP, over a socket that is connected or to a server."""

    def __init__(self, one, order, name, to=None):
        self.one, self.name, self.kind, self.to = one, name, order["type"], to
        self.number = random.randrange(1 << 16)
        self.message = dns.query(self.number, name, self.kind, order.get("edns"))
        self.began = time.perf_counter()
        self.send()
        self.sending = time.perf_counter() - self.began

    def send(self):
        if self.to:
            self.one.sendto(self.message, self.to)
        else:
            self.one.send(self.message)

    def finish(self):
        """Reads a datagram; the answer if it belongs to this query."""
        data, had, waited = receive(self.one)
        try:
            said = dns.parse(data)
        except dns.MALFORMED:
            return self.answer(None, had - self.began, waited)
        if said["number"] != self.number or not said["is_response"]:
            return None
        return self.answer(said, had - self.began, waited)

    def answer(self, said, seconds, waited):
        return {
            "name": self.name,
            "type": self.kind,
            "transport": "udp",
            "port": self.one.getsockname()[1],
            "code": said and said["code"],
            "answers": said["answers"] if said else [],
            "truncated": bool(said and said["truncated"]),
            "seconds": seconds,
            "sending": self.sending,
            "waited": waited,
        }


def ask(order):
    """One query after the other, each from a socket of its own, sent again as often as asked for."""
    server, answers = common.address(order["server"]), []
    for name in order["names"]:
        with datagram_socket(server) as one:
            if order["connected"]:
                one.connect(server)
            one.settimeout(order["patience"])
            exchange = Exchange(one, order, name, None if order["connected"] else server)
            answer, repeats = None, order["repeats"]
            while answer is None:
                try:
                    answer = exchange.finish()
                except TimeoutError:
                    if not repeats:
                        break
                    repeats -= 1
                    exchange.send()
            given_up = time.perf_counter() - exchange.began
            answers.append(answer or exchange.answer(None, given_up, 0))
    return answers


def ask_all(order):
    """The same query to several servers from one socket, as musl's resolver does (resolv.conf(5) has them tried in
    turn); the answer of each."""
    servers, name = [common.address(text) for text in order["servers"]], order["names"][0]
    with datagram_socket(servers[0]) as one:
        one.settimeout(order["patience"])
        first = Exchange(one, order, name, servers[0])
        for server in servers[1:]:
            one.sendto(first.message, server)
        first.sending = time.perf_counter() - first.began
        return [first.finish() for _ in servers]


def stream(order):
    """All names over one connection: queries in one segment, or each in its own, or cut into pieces."""
    server, names, kind = common.address(order["server"]), order["names"], order["type"]
    numbers = [random.randrange(1 << 16) for _ in names]
    frames = [dns.framed(dns.query(number, name, kind)) for number, name in zip(numbers, names)]
    parts = [b"".join(frames)] if order["how"] == "together" else frames
    if order["how"] == "pieces":
        whole = b"".join(frames)
        # Between the two bytes of a length, within a header, within a name.
        parts = [whole[:1], whole[1:9], whole[9:20], whole[20:]]
    with socket.create_connection(server) as one:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one.settimeout(order["patience"])
        port, began = one.getsockname()[1], time.perf_counter()
        for number, part in enumerate(parts):
            time.sleep(0.02 if number and order["how"] == "pieces" else 0)
            one.sendall(part)
        sending = time.perf_counter() - began
        answers, rest = [], b""
        while len(answers) < len(names):
            message, rest = dns.take_framed(rest)
            if message is None:
                part = one.recv(65535)
                if not part:
                    raise EOFError("the server ended early")
                rest += part
                continue
            said = dns.parse(message)
            seconds = time.perf_counter() - began
            answers.append(
                {
                    "name": names[numbers.index(said["number"])],
                    "type": kind,
                    "transport": "tcp",
                    "port": port,
                    "code": said["code"],
                    "answers": said["answers"],
                    "truncated": said["truncated"],
                    "seconds": seconds,
                    "sending": sending,
                    "waited": 0,
                }
            )
    return answers


# Of each kind of question one part in turn.
KINDS = [("A", "bulk.test"), ("AAAA", "bulk.test"), ("A", "missing.test"), ("TXT", "bulk.test")]


def bulk(order):
    """So many different queries, a few of them in flight at a time, at a rate; answers go to a file, one a line."""
    server, sockets = common.address(order["server"]), []
    for _ in range(order["sockets"]):
        sockets.append(datagram_socket(server))
        sockets[-1].connect(server)
        sockets[-1].setblocking(False)
    free, waiting, done, number = list(sockets), {}, 0, 0
    poller, by_descriptor = select.poll(), {one.fileno(): one for one in sockets}
    for one in sockets:
        poller.register(one, select.POLLIN)
    began = time.perf_counter()
    with open(order["log"], "w") as log:
        while done < order["count"]:
            due = min(order["count"], 1 + int((time.perf_counter() - began) * order["rate"]))
            while free and number < due:
                kind, zone = KINDS[number % len(KINDS)]
                one = free.pop()
                waiting[one] = Exchange(one, {"type": kind}, f"n{number}.{zone}")
                number += 1
            for descriptor, _ in poller.poll(1 if free else 5000):
                one = by_descriptor[descriptor]
                if answer := waiting[one].finish():
                    del waiting[one]
                    free.append(one)
                    done += 1
                    print(json.dumps(answer), file=log)
    return {"seconds": time.perf_counter() - began}


def lookup(order):
    """By the C library, as its resolv.conf has it; what it found."""
    families = {"any": socket.AF_UNSPEC, "ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
    began, found, error = time.perf_counter(), [], None
    try:
        entries = socket.getaddrinfo(order["name"], 80, families[order["family"]], socket.SOCK_STREAM)
        found = sorted({entry[4][0] for entry in entries})
    except socket.gaierror as failure:
        error = failure.strerror
    return {"found": found, "error": error, "seconds": time.perf_counter() - began}


def throw(order):
    """Messages that are none, over UDP and, as far as the server listens, over TCP; how many."""
    server, luck = common.address(order["server"]), random.Random(order["seed"])
    real = dns.query(7, "a.longer.name.of.several.labels.test", "A", 1232)
    messages = []
    for number in range(order["count"]):
        what, data = number % 6, bytearray(real)
        if what == 0:
            data = bytearray(luck.randbytes(luck.randrange(1, 700)))
        elif what == 1:
            data = data[: luck.randrange(1, len(data))]
        elif what == 2:
            data[luck.randrange(len(data))] ^= 1 << luck.randrange(8)
        elif what == 3:
            # Many questions that are not there.
            data[4:6] = b"\xff\xff"
        elif what == 4:
            # A name that points to itself.
            data[12:14] = b"\xc0\x0c"
        else:
            # A label that is longer than the message.
            data[12] = 63
        messages.append(bytes(data))
    with datagram_socket(server) as one:
        one.connect(server)
        for message in messages:
            one.send(message)
            time.sleep(0.0005)
    for message in messages[: order["streams"]]:
        with socket.create_connection(server) as one:
            try:
                one.sendall(dns.framed(message) if luck.randrange(2) else message)
                one.shutdown(socket.SHUT_WR)
                one.settimeout(0.2)
                while one.recv(4096):
                    pass
            except OSError:
                pass
    return {"sent": len(messages)}


def multicast(order):
    """A question to all on the link (RFC 6762, section 5.1: a one-shot query, or one from the port of its own)."""
    group = common.address(order["server"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        near = socket.inet_aton(order["interface"])
        one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, near)
        one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        one.bind(("0.0.0.0", group[1] if order["joined"] else 0))
        if order["joined"]:
            one.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group[0]) + near)
        one.settimeout(order["patience"])
        number = 0 if order["joined"] else random.randrange(1, 1 << 16)
        began = time.perf_counter()
        one.sendto(dns.query(number, order["name"], "A"), group)
        sending = time.perf_counter() - began
        while True:
            data, had, waited = receive(one)
            said = dns.parse(data)
            if said["is_response"] and order["address"] in said["answers"]:
                break
        return {
            "name": order["name"],
            "type": "A",
            "transport": "udp",
            "port": one.getsockname()[1],
            "code": said["code"],
            "answers": said["answers"],
            "truncated": False,
            "seconds": had - began,
            "sending": sending,
            "waited": waited,
        }


ACTS = {
    "ask": ask,
    "ask_all": ask_all,
    "stream": stream,
    "bulk": bulk,
    "lookup": lookup,
    "throw": throw,
    "multicast": multicast,
}


def main():
    common.end_in_time()
    common.say(common.report(common.chain()))
    for line in sys.stdin:
        order = json.loads(line)
        common.say(ACTS[order["act"]](order))
    os.closerange(3, 1024)


main()
