# names: solution
# wrong: "v" + str(VERSION) => "w" + str(VERSION)
VERSION = 3


def name():
    return "v" + str(VERSION)


class Box:
    size = VERSION
# ---- tests
import solution
import solution as s
def test_module():
    assert solution.name() == "v3"
    assert s.VERSION == 3
    assert s.Box().size == 3
    assert hasattr(solution, "Box") and not hasattr(solution, "nothing")
