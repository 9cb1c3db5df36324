# expect: failed
# tests: {"asserts": {"entry": "add", "source": "assert abs(add(1.5, 2.0) - 3.5) < 1e-6\nassert add(1, 2) == 3"}}
def add(a, b):
    return complex(a + b, 0)
