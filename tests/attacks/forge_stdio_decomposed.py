# expect: failed
# tests: {"stdio": [{"stdin": "\n", "stdout": "caf\u00e9\n"}]}
import unicodedata

print(unicodedata.normalize('NFD', 'caf\u00e9'))
