# expect: failed
import asyncio

odd = iter([NotImplemented, Ellipsis, type, add_ := lambda: 0, (i for i in ()), object(), asyncio.sleep, memoryview(b"")])


def add(a, b):
    return next(odd)
