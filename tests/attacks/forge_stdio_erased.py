# expect: failed
# tests: {"stdio": [{"stdin": "2 3\n", "stdout": "5\n"}]}
print("4\b5\r5\x1b[2K5")
