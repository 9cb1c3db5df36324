# expect: failed | runtime_error | no_entry
# tests: {"asserts": {"entry": "add", "source": "for a in range(5):\n    assert add(a, 1) == a + 1"}}
import sys

sys.exit(0)
