# expect: failed
# tests: {"stdio": {"cases": [{"stdin": "1 11\n", "stdout": "12\n"}, {"stdin": "2 3\n", "stdout": "5\n"}], "abs_tol": 1e-06}}
print('\u200b'.join(str(sum(map(int, input().split())))) + '\u200d')
