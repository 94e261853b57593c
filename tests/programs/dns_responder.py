"""A responder of multicast DNS (RFC 6762) that knows names in `.local`. It answers a one-shot query to its sender and
any other to all. Its first line tells who it is; it ends with its standard input.

usage: dns_responder.py INTERFACE-ADDRESS"""

import select
import socket
import sys

import common
import dns_messages as dns

GROUP, PORT = "224.0.0.251", 5353


def main():
    common.end_in_time()
    near = socket.inet_aton(sys.argv[1])
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(("0.0.0.0", PORT))
    one.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + near)
    one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, near)
    one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
    common.say(common.report(common.chain()))
    while True:
        ready, _, _ = select.select([sys.stdin, one], [], [])
        if sys.stdin in ready:
            return
        data, peer = one.recvfrom(9000)
        query = dns.parse(data)
        if query["is_response"] or not (query["name"] or "").endswith(".local"):
            continue
        record = dns.record(query["name"], "A", sys.argv[1])
        if peer[1] == PORT:
            # Section 6: no question, and the id is zero.
            header = dns.HEADER.pack(0, dns.RESPONSE | dns.AUTHORITATIVE, 0, 1, 0, 0)
            one.sendto(header + record, (GROUP, PORT))
        else:
            # Section 6.7: as a server that is no multicast one would.
            one.sendto(dns.response(query["number"], query["name"], "A", records=[record]), peer)


main()
