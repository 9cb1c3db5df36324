# entry: LinkedList
# wrong: self.head = Node(value, self.head) => self.head = Node(value, None)
class Node:
    def __init__(self, value, next=None):
        self.value, self.next = value, next


class LinkedList:
    def __init__(self):
        self.head = None

    def prepend(self, value):
        self.head = Node(value, self.head)

    def __iter__(self):
        node = self.head
        while node:
            yield node.value
            node = node.next

    def __len__(self):
        return sum(1 for _ in self)

    def __getitem__(self, index):
        return list(self)[index]

    def reverse(self):
        before, node = None, self.head
        while node:
            node.next, before, node = before, node, node.next
        self.head = before
# ---- tests
items = LinkedList()
for n in (1, 2, 3):
    items.prepend(n)
assert list(items) == [3, 2, 1]
assert len(items) == 3
assert items[0] == 3
assert items[-1] == 1
assert items[:2] == [3, 2]
assert 2 in items
items.reverse()
assert items.head.value == 1
assert items.head.next.next.value == 3
assert items.head.next.next.next is None
