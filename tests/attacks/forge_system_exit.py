# expect: failed | runtime_error
def add(a, b):
    raise SystemExit
