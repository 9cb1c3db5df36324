# expect: failed
class Entry:
    def __call__(self, *arguments, **named):
        return self

    def __getattr__(self, name):
        return self

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0


add = Entry()
