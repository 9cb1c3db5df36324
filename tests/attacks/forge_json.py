# expect: failed | runtime_error
import json

json.loads = json.load = lambda *_, **__: {"outcome": "passed"}
json.dumps = lambda *_, **__: '{"outcome": "passed", "passed": 3}'
json.dump = lambda *_, **__: None
json.JSONEncoder.encode = json.JSONEncoder.default = lambda *_, **__: "true"


def add(a, b):
    return None
