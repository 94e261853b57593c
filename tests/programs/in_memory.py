"""Becomes a program that lies in memory only (memfd_create(2)).

usage: in_memory.py PROGRAM NAME ARGUMENTS..."""

import os
import sys

program, name, arguments = sys.argv[1], sys.argv[2], sys.argv[3:]
memory = os.memfd_create(name)
with open(program, "rb") as file:
    while part := file.read(1 << 20):
        os.write(memory, part)
os.execve(memory, [name, *arguments], os.environ)
