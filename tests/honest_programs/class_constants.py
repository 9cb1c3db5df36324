# entry: Light
# wrong: Light.GREEN: "yellow" => Light.GREEN: "red"
class Light:
    RED, GREEN, YELLOW = "red", "green", "yellow"

    def __init__(self):
        self.state = Light.RED

    def next(self):
        self.state = {Light.RED: "green", Light.GREEN: "yellow", Light.YELLOW: "red"}[self.state]
        return self.state
# ---- tests
light = Light()
assert light.state == Light.RED
assert light.next() == Light.GREEN
assert light.next() == Light.YELLOW
assert Light.RED == "red"
