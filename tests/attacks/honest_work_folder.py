# expect: passed
import pathlib


def add(a, b):
    path = pathlib.Path("numbers.txt")
    path.write_text(f"{a}\n{b}\n", encoding="utf-8")
    return sum(int(line) for line in path.open())
