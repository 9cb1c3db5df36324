# expect: failed
# tests: {"stdio": [{"stdin": "2 3\n", "stdout": "5\n"}, {"stdin": "4 4\n", "stdout": "8\n"}]}
print(5)
