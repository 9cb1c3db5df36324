# expect: failed
# tests: {"stdio": {"cases": [{"stdin": "1 11\n", "stdout": "12\n"}, {"stdin": "2 3\n", "stdout": "5\n"}], "compare": "lines"}}
print('999\r' + str(sum(map(int, input().split()))), end='')
