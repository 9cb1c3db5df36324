# entry: Account
# names: Account, InsufficientFunds
# wrong: self.needed = needed => self.needed = 0
class InsufficientFunds(Exception):
    def __init__(self, needed, balance):
        super().__init__(f"need {needed}, have {balance}")
        self.needed = needed
        self.balance = balance

    @property
    def missing(self):
        return self.needed - self.balance


class Account:
    bank = "First"
    opened = 0

    def __init__(self, owner, balance=0):
        self.owner = owner
        self._balance = balance
        Account.opened += 1

    @property
    def balance(self):
        return self._balance

    @balance.setter
    def balance(self, value):
        if value < 0:
            raise ValueError("negative balance")
        self._balance = value

    def withdraw(self, amount):
        if amount > self._balance:
            raise InsufficientFunds(amount, self._balance)
        self._balance -= amount

    @classmethod
    def empty(cls, owner):
        return cls(owner)

    @staticmethod
    def is_valid(amount):
        return amount > 0
# ---- tests
a = Account("Ann", 100)
a.withdraw(30)
assert a.balance == 70
a.balance = 5
assert a.balance == 5
try:
    a.balance = -1
    failed = False
except ValueError as error:
    failed = error.args == ("negative balance",)
assert failed
try:
    a.withdraw(10)
except InsufficientFunds as error:
    caught = error
assert caught.needed == 10 and caught.balance == 5
assert caught.missing == 5
assert str(caught) == "need 10, have 5"
assert Account.empty("Bob").owner == "Bob"
assert Account.is_valid(3) and not Account.is_valid(0)
assert Account.bank == "First"
assert Account.opened == 2
assert hasattr(a, "withdraw") and not hasattr(a, "deposit")
assert getattr(a, "nothing", 7) == 7
