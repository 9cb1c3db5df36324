# entry: Service
# wrong: self.store.get(key) or default => default
class Service:
    def __init__(self, store):
        self.store = store

    def read(self, key, default=None):
        return self.store.get(key) or default

    def write(self, key, value):
        self.store.put(key, value)
        return self.store.size
# ---- tests
class FakeStore:
    def __init__(self):
        self.data = {}
    def get(self, key):
        return self.data.get(key)
    def put(self, key, value):
        self.data[key] = value
    @property
    def size(self):
        return len(self.data)
store = FakeStore()
service = Service(store)
assert service.write("a", 1) == 1
assert store.data == {"a": 1}
assert service.read("a") == 1
assert service.read("b", 5) == 5
