# entry: Money
# wrong: self.amount + other.amount => self.amount
from typing import NamedTuple


class Money(NamedTuple):
    amount: int
    currency: str = "EUR"

    def plus(self, other):
        return self._replace(amount=self.amount + other.amount)

    @property
    def text(self):
        return f"{self.amount} {self.currency}"
# ---- tests
m = Money(5).plus(Money(7))
assert m == Money(12, "EUR")
assert m.text == "12 EUR"
assert m.amount == 12
