# expect: runtime_error
import sys


def add(a, b):
    sys.stderr.buffer.write(b"\xff\xfe\x00\x1b[2J")
    raise ValueError("\ud800\udfff\x00\x1b[31m")
