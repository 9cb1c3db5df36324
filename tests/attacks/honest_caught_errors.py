# expect: passed
def add(a, b):
    for act in (lambda: 1 // 0, lambda: {}["x"], lambda: [][1], lambda: int("x"), lambda: open("/no/such/file")):
        try:
            act()
        except (ZeroDivisionError, LookupError, ValueError, OSError):
            pass
    return a + b
