# expect: failed | runtime_error | unscorable
# tests: {"asserts": {"entry": "each", "source": "def check(number):\n    assert number == 2, number\n\nfor numbers in ([2], [2, 2]):\n    assert each(numbers, check) is None"}}
def each(numbers, do):
    for number in numbers:
        try:
            do(number + 1)
        except BaseException:
            pass
