# expect: passed
# host: no file is left
import contextlib
import os

for name in (b"new\nline", b"\xff\xfe", b"-rf", b"a" * 255, b" ", b"*", b"\x01\x02", "…✓".encode(), b"'; rm -rf x; '"):
    with contextlib.suppress(OSError):
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
    with contextlib.suppress(OSError):
        os.mkdir(name + b".d")


def add(a, b):
    return a + b
