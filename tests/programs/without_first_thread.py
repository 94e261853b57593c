"""A process whose first thread has ended: its others go on to serve and to connect, but /proc/PID has neither a
binary nor open files to show any more.

usage: without_first_thread.py [HOST:PORT]"""

import ctypes
import os
import socket
import sys
import threading
import time

import common

SYS_EXIT = {"x86_64": 60, "aarch64": 93}[os.uname().machine]


def first_thread_has_ended():
    with open(f"/proc/{os.getpid()}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0] == "Z"


def go_on():
    while not first_thread_has_ended():
        time.sleep(0.01)
    try:
        if len(sys.argv) > 1:
            connect()
        else:
            serve()
        os._exit(0)
    finally:
        os._exit(1)


def connect():
    connection = socket.create_connection(common.address(sys.argv[1]))
    moved = common.nothing()
    common.ask(connection, 12345, 54321, moved, common.LAST)
    part = {**common.ends(connection), **moved}
    connection.close()
    common.say(common.report(identity, [part]))


def serve():
    result = []
    thread = threading.Thread(target=lambda: result.extend(common.accept_until_shut_down(listener)))
    thread.start()
    common.say({"address": common.end_point(listener.getsockname()), "pids": [os.getpid()]})
    sys.stdin.read()
    listener.shutdown(socket.SHUT_RD)
    thread.join()
    common.say(common.report(identity, result))


common.end_in_time()
identity = common.chain()
listener = None if len(sys.argv) > 1 else socket.create_server(("127.0.0.1", 0))
threading.Thread(target=go_on).start()
# Of this thread alone; exit() of the C library would end them all. It gives up the interpreter's lock first.
ctypes.CDLL(None).syscall(SYS_EXIT, 0)
