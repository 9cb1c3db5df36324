# expect: failed | output_limit
# tests: {"stdio": {"cases": [{"stdin": "1\n", "stdout": "1\n"}, {"stdin": "2\n", "stdout": "2\n"}], "abs_tol": 1e-06}}
# host: the judge is not kept busy
print('9' * 900_000 + '.' + '9' * 100_000)
