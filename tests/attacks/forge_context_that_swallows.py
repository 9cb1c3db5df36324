# expect: failed | runtime_error | unscorable
# tests: {"asserts": {"entry": "opened", "source": "with opened(3) as number:\n    assert number == 3\nwith opened(4) as number:\n    assert number == 4"}}
class Context:
    def __enter__(self):
        return None

    def __exit__(self, *error):
        return True


def opened(number):
    return Context()
