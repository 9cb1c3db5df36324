# expect: failed
# tests: {"stdio": [{"stdin": "a\n", "stdout": "1000\n"}, {"stdin": "b\n", "stdout": "1000\n"}]}
print('1000.0')
