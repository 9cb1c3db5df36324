# expect: passed
# host: no folder is left
import contextlib
import os

for number in range(20):
    with contextlib.suppress(OSError):
        os.makedirs(f"closed{number}/inner")
        with open(f"closed{number}/inner/file", "w") as file:
            file.write("x")
        os.chmod(f"closed{number}/inner/file", 0)
        os.chmod(f"closed{number}/inner", 0)
        os.chmod(f"closed{number}", 0)
with contextlib.suppress(OSError):
    os.chmod(".", 0)


def add(a, b):
    return a + b
