# expect: runtime_error
# tests: {"stdio": [{"stdin": "2 3\n", "stdout": "5\n"}]}
print(sum(map(int, input().split())), flush=True)
raise RuntimeError("after the answer")
