# expect: failed
# tests: {"calls": {"entry": "name", "cases": [{"args": [], "expected": "\u00e9t\u00e9"}]}}
import unicodedata


def name():
    return unicodedata.normalize('NFD', '\u00e9t\u00e9')
