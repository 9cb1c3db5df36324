# expect: passed
# tests: {"stdio": [{"stdin": "2 3\n", "stdout": "5\n"}]}
a, b = map(int, input().split())
print(a + b)
exit()
print("never")
