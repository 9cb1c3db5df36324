# expect: failed | output_limit | runtime_error
import sys
import types


class Equal:
    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0

    def tolist(self):
        return Equal()

    item = tolist


numpy = types.ModuleType("numpy")
numpy.generic = numpy.ndarray = Equal
sys.modules["numpy"] = numpy


def add(a, b):
    return Equal()
