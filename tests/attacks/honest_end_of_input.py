# expect: passed
# tests: {"stdio": [{"stdin": "1\n2\n3", "stdout": "6"}]}
total = 0
while True:
    try:
        total += int(input())
    except EOFError:
        break
print(total)
