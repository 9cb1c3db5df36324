# expect: passed
# tests: {"stdio": [{"stdin": "2 3\n", "stdout": "5\n"}]}
import sys

print(sum(map(int, sys.stdin.read().split())))
sys.exit(0)
