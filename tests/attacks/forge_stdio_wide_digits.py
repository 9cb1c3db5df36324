# expect: failed
# tests: {"stdio": {"cases": [{"stdin": "1 11\n", "stdout": "12\n"}, {"stdin": "2 3\n", "stdout": "5\n"}], "abs_tol": 1e-06}}
total = str(sum(map(int, input().split())))
print(''.join(chr(0xFF10 + int(digit)) for digit in total))
