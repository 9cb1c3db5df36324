# expect: failed
# tests: {"asserts": {"entry": "one", "source": "assert abs(one(1) - 1) < 1e-6\nassert one(2) == 1"}}
def one(number):
    return True
