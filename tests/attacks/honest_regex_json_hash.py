# expect: passed
# tests: {"calls": {"entry": "digest", "cases": [{"args": ["a1b22"], "expected": "c0d4eb56"}]}}
import hashlib
import json
import re


def digest(text):
    return hashlib.sha256(json.dumps(re.findall(r"\d+", text)).encode()).hexdigest()[:8]
