# expect: failed | runtime_error
# tests: {"calls": {"entry": "word", "cases": [{"args": [], "expected": "needle-480093517726"}]}}
import re


def word():
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps:
            start, end = (int(part, 16) for part in line.split()[0].split("-"))
            try:
                memory.seek(start)
                found = re.search(rb"needle-\d{12}", memory.read(min(end - start, 32 << 20)))
            except (OSError, ValueError, OverflowError):
                continue
            if found:
                return found[0].decode()
    return ""
