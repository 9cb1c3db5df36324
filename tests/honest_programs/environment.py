# entry: setting
# wrong: os.environ.get(name, default) => default
import os


def setting(name, default=None):
    return os.environ.get(name, default)
# ---- tests
import os
from unittest.mock import patch
with patch.dict(os.environ, {"APP_MODE": "test"}):
    mode = setting("APP_MODE")
assert mode == "test"
assert setting("APP_MODE", "none") == "none"
os.environ["OTHER"] = "1"
assert setting("OTHER") == "1"
