# expect: failed | runtime_error
async def add(a, b):
    return a + b
