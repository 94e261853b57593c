"""What the Python programs share: who they are, the traffic program's protocol from both ends, and its JSON lines."""

import json
import os
import signal
import socket
import struct
import sys
import threading

DEADLINE_SECONDS = 120
LAST = 1
SERVER_CLOSES = 4


def process(pid):
    """The process and its parent's id, as procfs shows them."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    try:
        executable = os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
    except OSError:  # a kernel thread, or a process that even root may not look into
        executable = ""
    return {"pid": int(pid), "executable": executable, "start_ticks": int(fields[19])}, int(fields[1])


def chain():
    """This process and its parents, the nearest first."""
    own, parent = process(os.readlink("/proc/self"))
    ancestors = []
    while parent:
        entry, parent = process(parent)
        ancestors.append(entry)
    return {**own, "vpid": os.getpid()}, ancestors


def report(identity, connections=(), workers=(), failures=None):
    """A report as the traffic program prints it."""
    own, ancestors = identity
    return {
        "process": own,
        "ancestors": ancestors,
        "connections": list(connections),
        "workers": list(workers),
        "failures": failures or {},
    }


def say(line):
    print(json.dumps(line), flush=True)


def wait_for_a_line():
    """Byte by byte: forked processes share standard input, and none may read ahead of another."""
    while os.read(0, 1) not in (b"\n", b""):
        pass


def step(moved):
    """Tells what was moved until now, and waits to be told to go on."""
    say(moved)
    wait_for_a_line()


def end_in_time():
    """By a signal, whatever the process is stuck in; a child has to ask for itself."""
    signal.alarm(DEADLINE_SECONDS)


def address(text):
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)


def end_point(name):
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def ends(connection):
    """Both ends of a connection; to be asked for while it has them."""
    return {"local": end_point(connection.getsockname()), "peer": end_point(connection.getpeername())}


def nothing():
    return {"sent": 0, "received": 0}


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


def send(connection, data, moved):
    data = memoryview(data)
    while data:
        sent = connection.send(data)
        moved["sent"] += sent
        data = data[sent:]


def ask(connection, outgoing, wanted, moved, flags=0):
    """The client's side of one round."""
    send(connection, struct.pack("<QQQ", outgoing, wanted, flags) + bytes(outgoing), moved)
    if len(receive(connection, wanted, moved)) != wanted:
        raise EOFError("the server ended early")


def answer(connection, moved):
    """The server's side of one connection."""
    while len(header := receive(connection, 24, moved)) == 24:
        incoming, wanted, flags = struct.unpack("<QQQ", header)
        receive(connection, incoming, moved)
        send(connection, bytes(wanted), moved)
        if flags & SERVER_CLOSES:
            break


def serve_one(connection):
    """Answers on one connection until its end and closes it."""
    where, moved = ends(connection), nothing()
    with connection:
        answer(connection, moved)
    return {**where, **moved}


def accept_until_shut_down(listener):
    """Accepts and answers, one connection at a time."""
    connections = []
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            break
        connections.append(serve_one(connection))
    return connections


def accept_all(listener):
    """The same, with a report of this process."""
    return report(chain(), accept_until_shut_down(listener))


def serve_with_workers(count, work, name, stop, once_forked=lambda: None):
    """Forks workers, each of which runs work(number) and sends what that returns; prints where they serve, and when
    standard input ends, stops them and prints the report of all."""
    end_in_time()
    workers = []
    for number in range(count):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            end_in_time()
            with os.fdopen(writer, "w") as output:
                json.dump(work(number), output)
            os._exit(0)
        os.close(writer)
        workers.append((pid, reader))
    once_forked()
    say({"address": end_point(name), "pids": [pid for pid, _ in workers]})
    sys.stdin.read()
    stop([pid for pid, _ in workers])
    reports = []
    for pid, reader in workers:
        with os.fdopen(reader) as file:
            reports.append(json.load(file))
        os.waitpid(pid, 0)
    say(report(chain(), workers=reports))


def serve_alone(listener):
    """The same for a process that accepts by itself, on a thread that is not its first."""
    end_in_time()
    result = []
    thread = threading.Thread(target=lambda: result.append(accept_all(listener)))
    thread.start()
    say({"address": end_point(listener.getsockname()), "pids": [os.getpid()]})
    sys.stdin.read()
    listener.shutdown(socket.SHUT_RD)
    thread.join()
    say(result[0])
