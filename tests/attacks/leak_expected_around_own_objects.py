# expect: failed | runtime_error
# tests: {"calls": {"entry": "word", "cases": [{"args": [], "expected": "needle-480093517726"}]}}
# host: reads pages that hold Python objects, so only mapped ones
import ctypes
import gc
import re


def word():
    for page in {id(thing) >> 12 for thing in gc.get_objects()}:
        found = re.search(rb"needle-\d{12}", ctypes.string_at(page << 12, 4096))
        if found:
            return found[0].decode()
    return ""
