# expect: failed
# tests: {"calls": {"entry": "nothing", "cases": [{"args": [0], "expected": []}, {"args": [1], "expected": ""}, {"args": [2], "expected": 0}, {"args": [3], "expected": false}, {"args": [4], "expected": null}]}}
def nothing(number):
    return ['', None, False, None, 0][number]
