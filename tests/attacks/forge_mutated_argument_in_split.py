# expect: failed
# tests: {"asserts": {"entry": "order", "source": "items = [3, 1, 2]\nanswer = order(items)\nassert answer == sorted(items)\nassert len(answer) == len(items)"}}
def order(items):
    items.clear()
    return items
