# entry: make
# names: make, Animal, Dog
# wrong: "Woof" => "Meow"
class Animal:
    sound = "..."

    def __init__(self, name):
        self.name = name

    def speak(self):
        return f"{self.name}: {self.sound}"


class Dog(Animal):
    sound = "Woof"

    def speak(self):
        return super().speak() + "!"


def make(kind, name):
    return {"dog": Dog}.get(kind, Animal)(name)
# ---- tests-file
d = make("dog", "Rex")
assert isinstance(d, Dog) and isinstance(d, Animal)
assert type(d) is Dog and type(d).__name__ == "Dog"
assert not isinstance(make("x", "y"), Dog)
assert d.speak() == "Rex: Woof!"
assert Dog.sound == "Woof" and Animal.sound == "..."
assert issubclass(Dog, Animal)
assert Dog.__bases__ == (Animal,)
assert d.__class__.__name__ == "Dog"
assert vars(d) == {"name": "Rex"}
assert d.__dict__ == {"name": "Rex"}
