# expect: failed
# tests: {"stdio": {"cases": [{"stdin": "1 2\n", "stdout": "2 4\n"}, {"stdin": "5 6\n", "stdout": "10 12\n"}], "compare": "lines"}}
print(*(2 * int(word) for word in input().split()), end='\u00a0\n\u2003\n')
