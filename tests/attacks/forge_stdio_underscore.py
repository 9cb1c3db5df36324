# expect: failed
# tests: {"stdio": {"cases": [{"stdin": "a\n", "stdout": "1000\n"}, {"stdin": "b\n", "stdout": "1000\n"}], "abs_tol": 1e-06}}
print('1_000')
