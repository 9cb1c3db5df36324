# expect: failed
# tests: {"stdio": [{"stdin": "1 11\n", "stdout": "12\n"}, {"stdin": "2 3\n", "stdout": "5\n"}]}
print('999' + '\b' * 3 + str(sum(map(int, input().split()))))
