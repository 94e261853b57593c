"""An authoritative name server over UDP and TCP that does what the first label of a name says. Its first line tells
who it is, its last one the queries that came; it ends with its standard input.

usage: dns_server.py ADDRESS:PORT..."""

import random
import select
import socket
import sys
import time

import common
import dns_messages as dns

DELAYS_SECONDS = {"slow": 0.15, "late": 1.4}
PIECES = 3
ADDRESSES = {"A": "10.9.9.1", "AAAA": "fd00:9::1"}
# Records of 16 bytes after the name: about 3 KB, more than fits a frame.
MANY = 90
# Such a name is answered the second time that it is asked for.
seen = set()


def behaviour(name):
    """`slow-3.zone.test` is slow."""
    return name.split(".")[0].split("-")[0]


def delay(name):
    return DELAYS_SECONDS.get(behaviour(name), 0)


def records(name, kind):
    address = ADDRESSES.get(kind)
    if behaviour(name) == "large" and kind == "A":
        return [dns.record(name, "A", f"10.9.{number}.1") for number in range(MANY)]
    if behaviour(name) == "alias":
        target = f"target.{name}"
        found = [dns.record(name, "CNAME", target)]
        return found + ([dns.record(target, kind, address)] if address else [])
    return [dns.record(name, kind, address)] if address else []


def is_dropped(name):
    if behaviour(name) == "lossy" and name not in seen:
        seen.add(name)
        return True
    return behaviour(name) == "dropped"


def respond(query, over_tcp):
    """The response to a query that was read."""
    number, name, kind = query["number"], query["name"], query["type"]
    how = behaviour(name)
    code = {"servfail": "SERVFAIL", "missing": "NXDOMAIN", "refused": "REFUSED"}.get(how)
    if code:
        return dns.response(number, name, kind, code)
    if how == "truncated" and not over_tcp:
        return dns.response(number, name, kind, flags=dns.TRUNCATED)
    message = dns.response(number, name, kind, records=records(name, kind))
    if how == "garbage":
        # Its header stays, and with it the promise of records that are none.
        garbage = random.Random(name).randbytes(60)
        return message[: dns.HEADER.size] + garbage
    return message


def serve_datagram(listener, log):
    data, peer = listener.recvfrom(65535)
    try:
        query = dns.parse(data)
    except dns.MALFORMED:
        return
    log.append({"name": query["name"], "type": query["type"], "transport": "udp"})
    if is_dropped(query["name"]):
        return
    time.sleep(delay(query["name"]))
    listener.sendto(respond(query, False), peer)


class Stream:
    """A connection; what came with one segment is answered with one."""

    def __init__(self, connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection, self.rest = connection, b""

    def serve(self, log):
        """Answers what has come; whether there may be more."""
        part = self.connection.recv(65535)
        if not part:
            self.connection.close()
            return False
        self.rest += part
        outgoing, split = b"", False
        while True:
            message, self.rest = dns.take_framed(self.rest)
            if message is None:
                break
            query = dns.parse(message)
            name = query["name"]
            log.append({"name": name, "type": query["type"], "transport": "tcp"})
            split |= behaviour(name) == "split"
            time.sleep(delay(name))
            response = dns.framed(respond(query, True))
            # The last comes first.
            outgoing = response + outgoing if behaviour(name) == "reversed" else outgoing + response
        self.send(outgoing, split)
        return True

    def send(self, outgoing, split):
        step = -(-len(outgoing) // PIECES) if split else len(outgoing)
        for start in range(0, len(outgoing), step or 1):
            self.connection.sendall(outgoing[start : start + step])
            time.sleep(0.02 if split else 0)


def main():
    common.end_in_time()
    datagrams, listeners, streams, log = [], [], {}, []
    for text in sys.argv[1:]:
        where = common.address(text)
        family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        datagrams.append(socket.socket(family, socket.SOCK_DGRAM))
        datagrams[-1].bind(where)
        listeners.append(socket.create_server(where, family=family))
    common.say(common.report(common.chain()))
    while True:
        ready, _, _ = select.select([sys.stdin, *datagrams, *listeners, *streams], [], [])
        for one in ready:
            if one is sys.stdin:
                common.say(log)
                return
            if one in datagrams:
                serve_datagram(one, log)
            elif one in listeners:
                connection, _ = one.accept()
                streams[connection] = Stream(connection)
            elif not streams[one].serve(log):
                del streams[one]


main()
