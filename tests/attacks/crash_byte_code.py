# expect: runtime_error | failed
def add(a, b):
    code = add.__code__.replace(co_code=bytes([100, 255, 83, 0]) * 8, co_consts=())
    return eval(code)
