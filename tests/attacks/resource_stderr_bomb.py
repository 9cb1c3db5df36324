# expect: output_limit
# host: memory and disk
import sys

for _ in range(64):
    sys.stderr.write("x" * (1 << 20))


def add(a, b):
    return a + b
