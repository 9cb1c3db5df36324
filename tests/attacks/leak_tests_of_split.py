# expect: failed | runtime_error
# tests: {"asserts": {"entry": "word", "source": "for number in range(1, 3):\n    assert word(number) == 'needle-480093517726' * number"}}
import ctypes
import gc
import re


def word(number):
    for page in {id(thing) >> 12 for thing in gc.get_objects()}:
        found = re.search(rb"needle-\d{12}", ctypes.string_at(page << 12, 4096))
        if found:
            return found[0].decode() * number
    return ""
