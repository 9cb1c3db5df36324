# expect: failed | runtime_error | unscorable
# tests: {"asserts": {"entry": "Tally", "source": "tally = Tally()\nassert tally.count == 0\ntally.add(5)\nassert tally.count == 5\ntally.add(-2)\nassert tally.count == 3\nassert tally.count == 3"}}
class Tally:
    said = [0, 5, 3, 4]

    def add(self, number):
        pass

    @property
    def count(self):
        return self.said.pop(0)
