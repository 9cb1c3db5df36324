# expect: passed
# tests: {"asserts": {"entry": "Stack", "source": "stack = Stack()\nstack.push(3)\nstack.push(4)\nassert stack.pop() == 4\nassert len(stack) == 1\nassert stack.pop() == 3"}}
class Stack:
    def __init__(self):
        self.items = []

    def push(self, item):
        self.items.append(item)

    def pop(self):
        return self.items.pop()

    def __len__(self):
        return len(self.items)
