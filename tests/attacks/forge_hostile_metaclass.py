# expect: failed
class Meta(type):
    def __eq__(cls, other):
        return True

    def __instancecheck__(cls, instance):
        return True

    def __subclasscheck__(cls, subclass):
        return True

    def __hash__(cls):
        return hash(int)

    @property
    def __name__(cls):
        return "int"


class Equal(metaclass=Meta):
    def __eq__(self, other):
        return True

    def __hash__(self):
        return 5


def add(a, b):
    return Equal() if a % 2 else Equal
