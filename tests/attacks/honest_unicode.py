# expect: passed
# tests: {"stdio": [{"stdin": "żółć 日本 😀\n", "stdout": "😀 本日 ćłóż ✓\n"}]}
print(input()[::-1], "✓")
