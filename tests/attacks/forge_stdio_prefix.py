# expect: failed
# tests: {"stdio": [{"stdin": "2 3\n", "stdout": "5\n6\n7\n"}]}
print("5\n6")
