# expect: passed
# tests: {"stdio": [{"stdin": "b\na\nc\n", "stdout": "a\nb\nc\n"}]}
import sys

sys.stdout.writelines(sorted(sys.stdin))
