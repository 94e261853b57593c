"""A pre-fork TCP server: workers are forked after listen(), so every socket they accept descends from a listener
that another process opened. Speaks the protocol and prints the JSON lines of the traffic program."""

import json
import os
import socket
import struct
import sys
import threading

DEADLINE_SECONDS = 120


def process(pid):
    """The process and its parent's id, as procfs shows them."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    try:
        executable = os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
    except OSError:  # a kernel thread, or a process that even root may not look into
        executable = ""
    return {"pid": pid, "executable": executable, "start_ticks": int(fields[19])}, int(fields[1])


def chain():
    own, parent = process(os.getpid())
    ancestors = []
    while parent:
        entry, parent = process(parent)
        ancestors.append(entry)
    return own, ancestors


def end_point(address):
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def receive(connection, amount, moved):
    """Reads up to an amount; less only when the peer has ended."""
    data = b""
    while len(data) < amount:
        part = connection.recv(amount - len(data))
        if not part:
            break
        moved["received"] += len(part)
        data += part
    return data


def answer(connection, moved):
    while len(header := receive(connection, 24, moved)) == 24:
        incoming, wanted, flags = struct.unpack("<QQQ", header)
        receive(connection, incoming, moved)
        data = memoryview(bytes(wanted))
        while data:
            sent = connection.send(data)
            moved["sent"] += sent
            data = data[sent:]
        if flags & 4:  # the server closes
            break


def work(listener):
    own, ancestors = chain()
    connections = []
    while True:
        try:
            connection, peer = listener.accept()
        except OSError:  # shut down: the end
            break
        moved = {"sent": 0, "received": 0}
        local = connection.getsockname()
        with connection:
            answer(connection, moved)
        connections.append({"local": end_point(local), "peer": end_point(peer), **moved})
    return {"process": own, "ancestors": ancestors, "connections": connections, "failures": {}}


def main():
    count = int(sys.argv[1])
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    workers = []
    for _ in range(count):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            threading.Timer(DEADLINE_SECONDS, os._exit, [3]).start()
            with os.fdopen(writer, "w") as output:
                json.dump(work(listener), output)
            os._exit(0)
        os.close(writer)
        workers.append((pid, reader))
    print(json.dumps({"address": end_point(listener.getsockname()), "pids": [pid for pid, _ in workers]}), flush=True)
    sys.stdin.read()
    listener.shutdown(socket.SHUT_RD)  # wakes every worker
    reports = []
    for pid, reader in workers:
        with os.fdopen(reader) as file:
            reports.append(json.load(file))
        os.waitpid(pid, 0)
    own, ancestors = chain()
    print(json.dumps({"process": own, "ancestors": ancestors, "connections": [], "failures": {}, "workers": reports}))


main()
