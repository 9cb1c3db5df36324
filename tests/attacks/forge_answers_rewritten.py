# expect: failed | runtime_error
import os


def add(a, b):
    try:
        os.ftruncate(4, 0)
        os.lseek(4, 0, 0)
        os.write(4, b'[true, true, true]\n{"i":0,"v":true}\n{"i":1,"v":true}\n{"i":2,"v":true}\n{"i":-1,"v":5}\n{"i":true,"v":5}\n')
        os.lseek(4, 1 << 19, 0)
    except OSError:
        pass
