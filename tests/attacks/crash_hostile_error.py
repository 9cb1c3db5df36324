# expect: runtime_error | timeout
# limits: {"cpu_s": 0.5}
class Hostile(BaseException):
    def __str__(self):
        while True:
            return "passed" * 1_000_000

    @property
    def __cause__(self):
        return self

    @property
    def __traceback__(self):
        return None


def add(a, b):
    raise Hostile
