# expect: failed | runtime_error
# limits: {"wall_s": 2.0}
# tests: {"asserts": {"entry": "add", "source": "for a in range(5):\n    assert add(a, 1) == a + 1"}}
import os


def add(a, b):
    for text in (b'{"i":1,"v":{"o":0}}\n', b'{"i":1,"v":[{"o":0}],"passed":true}\n', b'"ready"\n', b"{}\n" * 100, b"x" * 4_000_000 + b"\n"):
        try:
            os.write(5, text)
        except OSError:
            break
    return None
