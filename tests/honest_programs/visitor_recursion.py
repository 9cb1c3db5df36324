# entry: evaluate
# names: evaluate, Num, Add, Mul
# wrong: node.left) * => node.left) +
class Num:
    def __init__(self, value):
        self.value = value


class Add:
    def __init__(self, left, right):
        self.left, self.right = left, right


class Mul(Add):
    pass


def evaluate(node):
    match node:
        case Num():
            return node.value
        case Mul():
            return evaluate(node.left) * evaluate(node.right)
        case Add():
            return evaluate(node.left) + evaluate(node.right)
# ---- tests-file
tree = Add(Num(1), Mul(Num(2), Num(3)))
assert evaluate(tree) == 7
assert tree.right.left.value == 2
assert isinstance(tree.right, Add)
