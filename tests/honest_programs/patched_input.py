# entry: ask
# names: ask, total
# wrong: int(input()) => float(input())
def ask():
    name = input("name? ")
    return f"hi {name}"


def total():
    n = int(input())
    return [n, sum(int(input()) for _ in range(n))]
# ---- tests-file
import io
from unittest.mock import patch
with patch("builtins.input", return_value="Ann"):
    answer = ask()
assert answer == "hi Ann"
with patch("builtins.input", side_effect=["2", "3", "4"]):
    answers = total()
assert str(answers) == "[2, 7]"
with patch("sys.stdin", io.StringIO("1\n9\n")):
    answers = total()
assert answers == [1, 9]
