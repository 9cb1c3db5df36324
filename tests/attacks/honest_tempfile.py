# expect: passed
import os
import tempfile


def add(a, b):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "numbers")
        with open(path, "w") as file:
            file.write(f"{a} {b}")
        with open(path) as file:
            return sum(map(int, file.read().split()))
