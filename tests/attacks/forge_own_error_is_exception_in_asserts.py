# expect: failed | runtime_error | unscorable
# tests: {"asserts": {"entry": "root", "source": "try:\n    root(-1)\n    raise AssertionError(\"no error\")\nexcept TooSmall:\n    pass\nassert root(4) == 4"}}
TooSmall = Exception


def root(number):
    return number
