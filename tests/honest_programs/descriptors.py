# entry: Person
# wrong: len(value) < 2 => len(value) < 1
class Text:
    def __set_name__(self, owner, name):
        self.name = "_" + name

    def __get__(self, thing, kind):
        return self if thing is None else getattr(thing, self.name)

    def __set__(self, thing, value):
        if not isinstance(value, str) or len(value) < 2:
            raise ValueError(f"bad {self.name[1:]}: {value!r}")
        setattr(thing, self.name, value)


class Person:
    __slots__ = ("_first",)
    first = Text()

    def __init__(self, first):
        self.first = first
# ---- tests
p = Person("Ann")
assert p.first == "Ann"
p.first = "Bob"
assert p.first == "Bob"
for bad in ("", "x", 5):
    try:
        p.first = bad
        message = ""
    except ValueError as error:
        message = str(error)
    assert message == f"bad first: {bad!r}"
try:
    p.other = 1
    allowed = True
except AttributeError:
    allowed = False
assert not allowed
