# expect: failed | runtime_error
# tests: {"asserts": {"entry": "Stack", "source": "stack = Stack()\nstack.push(3)\nstack.push(4)\nassert stack.pop() == 4\nassert len(stack) == 1\nassert stack.pop() == 3"}}
class Equal:
    def __eq__(self, other):
        return True

    def __index__(self):
        return 1

    def __hash__(self):
        return 0


class Stack:
    def push(self, item):
        return Equal()

    def pop(self):
        return Equal()

    def __len__(self):
        return Equal()

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0
