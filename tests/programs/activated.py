"""A service that gets its socket from whoever starts it (sd_listen_fds(3)): a listener, which it serves like any
server, or one accepted connection, which it answers and reports."""

import os
import socket

import common

if (os.environ["LISTEN_PID"], os.environ["LISTEN_FDS"]) != (str(os.getpid()), "1"):
    raise SystemExit(f"not one socket for this process: {os.environ}")
given = socket.socket(fileno=3)
if given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
    common.serve_alone(given)
else:
    common.end_in_time()
    identity = common.chain()
    common.say(common.report(identity, [common.serve_one(given)]))
