"""Deletes a program and then becomes it, by a descriptor that was opened before.

usage: exec_deleted.py PROGRAM ARGUMENTS..."""

import os
import sys

file = os.open(sys.argv[1], os.O_RDONLY)
os.unlink(sys.argv[1])
os.execve(file, sys.argv[1:], os.environ)
