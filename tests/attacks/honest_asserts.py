# expect: passed
# tests: {"asserts": {"entry": "add", "source": "import random\nfor _ in range(20):\n    a, b = random.random(), random.random()\n    assert abs(add(a, b) - (a + b)) < 1e-9\nassert add(2, 3) == 5"}}
def add(a, b):
    return a + b
