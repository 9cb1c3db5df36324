# expect: passed
# tests: {"stdio": [{"stdin": "3\n1 2\n3 4\n5 6\n", "stdout": "3\n7\n11\n"}, {"stdin": "0\n", "stdout": ""}]}
for _ in range(int(input())):
    print(sum(map(int, input().split())))
