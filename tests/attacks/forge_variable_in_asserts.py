# expect: unscorable
# tests: {"asserts": {"entry": "add", "source": "assert add(2, 3) == expected[0]\nassert add(1, 1) == expected[1]"}}
expected = [None, None]


def add(a, b):
    return None
