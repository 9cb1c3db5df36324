# expect: failed
# tests: {"calls": {"entry": "show", "cases": [{"args": [12], "expected": "12"}, {"args": [3], "expected": "3"}]}}
def show(number):
    return ''.join(chr(0xFF10 + int(digit)) for digit in str(number))
