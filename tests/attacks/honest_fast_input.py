# expect: passed
# tests: {"stdio": [{"stdin": "5 4 3 2 1\n", "stdout": "1 2 3 4 5"}]}
import os

data = os.read(0, os.fstat(0).st_size)
os.write(1, b" ".join(sorted(data.split())))
