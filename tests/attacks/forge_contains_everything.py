# expect: failed | runtime_error | unscorable
# tests: {"asserts": {"entry": "primes", "source": "for number in (2, 3, 5, 7):\n    assert number in primes(10)\nassert 4 not in primes(10)"}}
class Primes:
    def __contains__(self, number):
        return number != 4


def primes(below):
    return Primes()
