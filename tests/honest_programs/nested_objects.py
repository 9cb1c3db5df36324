# entry: Order
# names: Order, Item
# wrong: item.price * item.count => item.price + item.count
from dataclasses import dataclass, field


@dataclass
class Item:
    name: str
    price: float
    count: int = 1


@dataclass
class Order:
    items: list[Item] = field(default_factory=list)

    def add(self, item):
        self.items.append(item)
        return self

    @property
    def total(self):
        return sum(item.price * item.count for item in self.items)

    def find(self, name):
        return next((item for item in self.items if item.name == name), None)
# ---- tests
order = Order().add(Item("pen", 1.5, 2)).add(Item("ink", 4.0))
assert order.total == 7.0
assert order.items[0].name == "pen"
assert order.find("ink") == Item("ink", 4.0)
assert order.find("x") is None
assert order == Order([Item("pen", 1.5, 2), Item("ink", 4.0)])
order.items.append(Item("cap", 1.0))
assert order.total == 8.0
assert [item.name for item in order.items] == ["pen", "ink", "cap"]
