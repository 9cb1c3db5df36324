# entry: greet
# names: greet, shout
# wrong: print("Hello,", name) => print("Hello", name)
import sys


def greet(name):
    print("Hello,", name)
    return len(name)


def shout(name):
    print(name.upper(), file=sys.stderr)
# ---- tests-file
import io
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch
buffer = io.StringIO()
with redirect_stdout(buffer):
    size = greet("Ann")
assert buffer.getvalue() == "Hello, Ann\n"
assert size == 3
with patch("sys.stdout", new_callable=io.StringIO) as out:
    greet("Bob")
assert out.getvalue() == "Hello, Bob\n"
errors = io.StringIO()
with redirect_stderr(errors):
    shout("x")
assert errors.getvalue() == "X\n"
