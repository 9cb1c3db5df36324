# expect: failed
# tests: {"asserts": {"entry": "pair", "source": "assert pair(1) == (1, 1)\nassert pair(2) == (2, 2)"}}
def pair(number):
    return [number, number]
