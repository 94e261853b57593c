"""One connection of two rounds, by a process that was given whatever else on its command line.

usage: client.py HOST:PORT [--protocol N] [--pause SECONDS] [--hold] [ANYTHING...]"""

import socket
import sys
import time

import common


def number_after(option):
    return int(sys.argv[sys.argv.index(option) + 1]) if option in sys.argv else 0


def main():
    common.end_in_time()
    if "--hold" in sys.argv:
        common.wait_for_a_line()
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM, number_after("--protocol"))
    connection.connect(common.address(sys.argv[1]))
    moved = common.nothing()
    common.ask(connection, 10, 10, moved)
    time.sleep(number_after("--pause"))
    common.ask(connection, 12345, 54321, moved, common.LAST)
    where = common.ends(connection)
    connection.close()
    common.say(common.report(common.chain(), [{**where, **moved}]))


main()
