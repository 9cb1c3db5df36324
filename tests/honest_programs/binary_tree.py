# entry: insert
# names: insert, Tree, depth
# wrong: value < tree.value => value > tree.value
class Tree:
    def __init__(self, value):
        self.value = value
        self.left = None
        self.right = None


def insert(tree, value):
    if tree is None:
        return Tree(value)
    if value < tree.value:
        tree.left = insert(tree.left, value)
    else:
        tree.right = insert(tree.right, value)
    return tree


def depth(tree):
    return 0 if tree is None else 1 + max(depth(tree.left), depth(tree.right))
# ---- tests-file
root = None
for n in (5, 3, 8, 1):
    root = insert(root, n)
assert root.value == 5
assert root.left.value == 3 and root.left.left.value == 1
assert root.right.value == 8 and root.right.left is None
assert depth(root) == 3
other = Tree(1)
other.left = Tree(2)
other.left.right = Tree(3)
assert depth(other) == 3
assert other.left.right.value == 3
