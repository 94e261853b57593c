"""A server whose first process accepts and hands each connection to a worker (SCM_RIGHTS in unix(7)).

usage: pass_accepted.py WORKERS"""

import socket
import sys
import threading

import common


def work(number):
    identity = common.chain()
    # A descriptor of another worker's channel would keep that one from seeing its end.
    for other, (giver, taker) in enumerate(channels):
        giver.close()
        if other != number:
            taker.close()
    connections = []
    while True:
        data, descriptors, _, _ = socket.recv_fds(channels[number][1], 1, 1)
        if not data:
            break
        # Whoever closes it last is taken for the one that used it: let that be this process.
        channels[number][1].recv(1)
        connections.append(common.serve_one(socket.socket(fileno=descriptors[0])))
    return common.report(identity, connections)


def hand_out():
    turn = 0
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            break
        socket.send_fds(channels[turn % count][0], [b"."], [connection.fileno()])
        connection.close()
        channels[turn % count][0].send(b"!")
        turn += 1
    for giver, _ in channels:
        giver.close()


def begin():
    for _, taker in channels:
        taker.close()
    thread.start()


def stop(_):
    listener.shutdown(socket.SHUT_RD)
    thread.join()


count = int(sys.argv[1])
channels = [socket.socketpair() for _ in range(count)]
listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
thread = threading.Thread(target=hand_out)
common.serve_with_workers(count, work, listener.getsockname(), stop, begin)
