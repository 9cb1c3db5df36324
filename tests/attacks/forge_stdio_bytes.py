# expect: failed
# tests: {"stdio": [{"stdin": "2 3\n", "stdout": "5\n"}]}
import os

os.write(1, b"\xff\xfe\x005\n\x00")
