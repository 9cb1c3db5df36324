# expect: failed | runtime_error
import sys
import types


class Finder:
    def find_module(self, name, path=None):
        return self

    def find_spec(self, name, path=None, target=None):
        module = types.ModuleType(name)
        module.check = module.judge = lambda *_: True
        sys.modules[name] = module
        return None


sys.meta_path.insert(0, Finder())
sys.path_hooks.clear()


def add(a, b):
    return None
