# entry: Emitter
# wrong: handler(*args) => handler(event)
class Emitter:
    def __init__(self):
        self.handlers = {}

    def on(self, event, handler):
        self.handlers.setdefault(event, []).append(handler)

    def emit(self, event, *args):
        for handler in self.handlers.get(event, []):
            handler(*args)
        return len(self.handlers.get(event, []))
# ---- tests
seen = []
e = Emitter()
e.on("x", seen.append)
e.on("x", lambda value: seen.append(value * 2))
assert e.emit("x", 5) == 2
assert seen == [5, 10]
assert e.emit("y") == 0
count = 0
def handler(*args):
    global count
    count += len(args)
e.on("z", handler)
e.emit("z", 1, 2, 3)
assert count == 3
