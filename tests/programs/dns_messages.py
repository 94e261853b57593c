"""DNS messages, written and read by code that shares nothing with netsonde (RFC 1035, section 4)."""

import ipaddress
import struct

TYPES = {"A": 1, "CNAME": 5, "TXT": 16, "AAAA": 28, "OPT": 41, "HTTPS": 65}
CODES = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"]
INTERNET = 1
RESPONSE = 0x8000
AUTHORITATIVE = 0x0400
TRUNCATED = 0x0200
RECURSION_DESIRED = 0x0100
HEADER = struct.Struct("!HHHHHH")
# What reading a message that is none raises.
MALFORMED = (IndexError, ValueError, struct.error)


def type_name(number):
    return next((name for name, known in TYPES.items() if known == number), f"TYPE{number}")


def pack_name(name):
    labels = [label.encode() for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def read_name(data, at):
    """The name that begins here, and where it ends."""
    labels, end = [], None
    for _ in range(128):
        length = data[at]
        if length & 0xC0 == 0xC0:
            end = end or at + 2
            at = struct.unpack_from("!H", data, at)[0] & 0x3FFF
        elif length:
            labels.append(data[at + 1 : at + 1 + length].decode("ascii"))
            at += 1 + length
        else:
            return ".".join(labels), end or at + 1
    raise ValueError("a name without an end")


def question(name, kind):
    return pack_name(name) + struct.pack("!HH", TYPES[kind], INTERNET)


def query(number, name, kind, edns=None):
    """A query; `edns` is the largest response over UDP that it allows (RFC 6891, section 6.2.3)."""
    more = b"\0" + struct.pack("!HHIH", TYPES["OPT"], edns, 0, 0) if edns else b""
    return HEADER.pack(number, RECURSION_DESIRED, 1, 0, 0, 1 if edns else 0) + question(name, kind) + more


def record(name, kind, data, ttl=60):
    """One answer; its data is an address, a name or, of TXT, text."""
    if kind in ("A", "AAAA"):
        packed = ipaddress.ip_address(data).packed
    elif kind == "CNAME":
        packed = pack_name(data)
    else:
        packed = bytes([len(data)]) + data.encode()
    return pack_name(name) + struct.pack("!HHIH", TYPES[kind], INTERNET, ttl, len(packed)) + packed


def response(number, name, kind, code="NOERROR", records=(), flags=0):
    flags |= RESPONSE | AUTHORITATIVE | RECURSION_DESIRED | CODES.index(code)
    return HEADER.pack(number, flags, 1, len(records), 0, 0) + question(name, kind) + b"".join(records)


def parse(data):
    """What a message says, as far as the tests ask."""
    number, flags, questions, answers, _, _ = HEADER.unpack_from(data)
    name, kind, at = None, None, HEADER.size
    if questions:
        name, at = read_name(data, at)
        kind = type_name(struct.unpack_from("!H", data, at)[0])
        at += 4
    told = []
    for _ in range(answers):
        _, at = read_name(data, at)
        record_type, _, _, length = struct.unpack_from("!HHIH", data, at)
        at += 10
        if record_type in (TYPES["A"], TYPES["AAAA"]):
            told.append(str(ipaddress.ip_address(data[at : at + length])))
        elif record_type == TYPES["CNAME"]:
            told.append(read_name(data, at)[0])
        at += length
    return {
        "number": number,
        "is_response": bool(flags & RESPONSE),
        "code": CODES[flags & 15],
        "truncated": bool(flags & TRUNCATED),
        "name": name,
        "type": kind,
        "answers": told,
    }


def framed(message):
    """As it travels over TCP (RFC 1035, section 4.2.2)."""
    return struct.pack("!H", len(message)) + message


def take_framed(stream):
    """The first whole message of a stream, or none, and the rest."""
    if len(stream) < 2:
        return None, stream
    end = 2 + struct.unpack_from("!H", stream)[0]
    return (stream[2:end], stream[end:]) if len(stream) >= end else (None, stream)
