# expect: failed | runtime_error | no_entry
print("3 passed")
exit(0)
