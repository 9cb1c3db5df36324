# expect: failed
# tests: {"stdio": [{"stdin": "\n", "stdout": "YES\n"}]}
print('yes')
