# expect: output_limit
# tests: {"stdio": [{"stdin": "", "stdout": "x"}]}
import os

written = 0
while written < 64 << 20:
    written += os.write(1, b"x" * (1 << 16))
