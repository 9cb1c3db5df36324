# expect: passed
# tests: {"calls": {"entry": "power", "cases": [{"args": [100], "expected": 1267650600228229401496703205376}]}}
def power(number):
    return 2**number
