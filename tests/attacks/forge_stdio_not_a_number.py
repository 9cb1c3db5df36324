# expect: failed
# tests: {"stdio": {"cases": [{"stdin": "a\n", "stdout": "1000\n"}, {"stdin": "b\n", "stdout": "1000\n"}], "abs_tol": 1000000.0, "rel_tol": 0.0}}
print('nan')
