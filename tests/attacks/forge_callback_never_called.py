# expect: failed | runtime_error | unscorable
# tests: {"asserts": {"entry": "each", "source": "seen = []\neach([1, 2], seen.append)\nassert seen == [1, 2]\neach([3], seen.append)\nassert seen == [1, 2, 3]"}}
def each(numbers, do):
    return None
