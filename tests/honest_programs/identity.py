# entry: Singleton
# wrong: cls.instance is None => True
class Singleton:
    instance = None

    def __new__(cls):
        if cls.instance is None:
            cls.instance = super().__new__(cls)
        return cls.instance
# ---- tests
assert Singleton() is Singleton()
a = Singleton()
a.value = 5
assert Singleton().value == 5
assert isinstance(a, Singleton)
