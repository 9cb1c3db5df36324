# expect: failed
# tests: {"stdio": [{"stdin": "2 3\n", "stdout": "5\n"}]}
for number in range(100):
    print(number)
