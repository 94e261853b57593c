"""A client whose connection goes from one process to another. It stops after each act, tells what that process has
moved, and waits for a line: opened (by the first), handed (the second has it), moved (by the second). The report is
the first's, and the second's is its only worker.

usage: hand_over.py HOW HOST:PORT BYTES
HOW: fork    the first forks, closes its copy and stays
     orphan  the first forks and ends
     pass    the first hands it over a Unix socket to one that was there before, and closes its copy
     share   the first forks, and both hold it when it ends
BYTES: moved each way by the first, before it hands over; the second moves 30000 and 40000"""

import json
import os
import socket
import sys

import common


def go_on(connection, identity, share):
    """The second's part."""
    moved = common.nothing()
    common.step(moved)
    common.ask(connection, 30000, 40000, moved, common.LAST)
    part = {**common.ends(connection), **moved}
    if share:
        # Ends the connection and leaves the socket: it closes while two processes hold it.
        connection.shutdown(socket.SHUT_RDWR)
    common.step(moved)
    connection.close()
    return common.report(identity, [part])


def forking(how, to, amount):
    connection = socket.create_connection(to)
    moved = common.nothing()
    if amount:
        common.ask(connection, amount, amount, moved)
    common.step(moved)
    first = common.chain()
    own = {**common.ends(connection), **moved}
    # Each has an end; that the other's is closed says that it is done.
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        common.end_in_time()
        ours.close()
        second = common.chain()
        theirs.send(b".")
        if how != "share":
            theirs.recv(1)  # the first has closed its copy, or ended
        result = go_on(connection, second, how == "share")
        if how == "orphan":
            common.say(common.report(first, [own], [result]))
        else:
            with theirs.makefile("w") as output:
                json.dump(result, output)
        os._exit(0)
    theirs.close()
    ours.recv(1)
    if how == "orphan":
        os._exit(0)
    if how == "fork":
        connection.close()
        ours.send(b".")
    with ours.makefile() as file:
        result = json.load(file)
    os.waitpid(pid, 0)
    common.say(common.report(first, [own], [result]))


def passing(to, amount):
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        common.end_in_time()
        ours.close()
        identity = common.chain()
        _, descriptors, _, _ = socket.recv_fds(theirs, 1, 1)
        theirs.recv(1)  # the first has closed its copy
        result = go_on(socket.socket(fileno=descriptors[0]), identity, False)
        with theirs.makefile("w") as output:
            json.dump(result, output)
        os._exit(0)
    theirs.close()
    first = common.chain()
    connection = socket.create_connection(to)
    moved = common.nothing()
    if amount:
        common.ask(connection, amount, amount, moved)
    common.step(moved)
    own = {**common.ends(connection), **moved}
    socket.send_fds(ours, [b"."], [connection.fileno()])
    connection.close()
    ours.send(b".")
    with ours.makefile() as file:
        result = json.load(file)
    os.waitpid(pid, 0)
    common.say(common.report(first, [own], [result]))


common.end_in_time()
how, to, amount = sys.argv[1], common.address(sys.argv[2]), int(sys.argv[3])
if how == "pass":
    passing(to, amount)
else:
    forking(how, to, amount)
