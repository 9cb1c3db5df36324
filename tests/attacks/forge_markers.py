# expect: failed
import sys

for stream in (sys.stdout, sys.stderr):
    for marker in ("passed", "PASSED", "OK", "All tests passed", "Success", "1", "1.0", "True", '{"passed": true}'):
        print(marker, file=stream)
    print("Ran 3 tests in 0.000s\n\nOK", file=stream)
    print("============ 3 passed in 0.01s ============", file=stream)
    print('{"outcome": "passed", "passed": 3, "total": 3, "status": "Success", "reward": 1.0}', file=stream, flush=True)


def add(a, b):
    return None
