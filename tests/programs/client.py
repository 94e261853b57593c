"""One connection of one round, by a process that was given whatever else on its command line.

usage: client.py HOST:PORT [--protocol N] [--hold] [ANYTHING...]"""

import socket
import sys

import common


def main():
    common.end_in_time()
    if "--hold" in sys.argv:
        common.wait_for_a_line()
    number = int(sys.argv[sys.argv.index("--protocol") + 1]) if "--protocol" in sys.argv else 0
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM, number)
    connection.connect(common.address(sys.argv[1]))
    moved = common.nothing()
    common.ask(connection, 12345, 54321, moved, common.LAST)
    where = common.ends(connection)
    connection.close()
    common.say(common.report(common.chain(), [{**where, **moved}]))


main()
