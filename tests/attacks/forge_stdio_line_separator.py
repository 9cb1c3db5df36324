# expect: failed
# tests: {"stdio": [{"stdin": "1 2\n", "stdout": "2 4\n"}, {"stdin": "5 6\n", "stdout": "10 12\n"}]}
print(*(2 * int(word) for word in input().split()), sep='\u2028')
