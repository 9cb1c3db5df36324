# pytest: yes
# names: Temperature, show
# wrong: 9 / 5 + 32 => 9 / 5 + 31
class Temperature:
    def __init__(self, celsius):
        if celsius < -273.15:
            raise ValueError(f"{celsius} is below absolute zero")
        self.celsius = celsius

    @property
    def fahrenheit(self):
        return self.celsius * 9 / 5 + 32


def show(t):
    print(f"{t.celsius} C")
# ---- tests
import pytest
from solution import Temperature, show
@pytest.fixture
def warm():
    return Temperature(25)
@pytest.mark.parametrize(("c", "f"), [(0, 32), (100, 212), (-40, -40)])
def test_values(c, f):
    assert Temperature(c).fahrenheit == pytest.approx(f)
def test_fixture(warm):
    assert warm.fahrenheit == pytest.approx(77.0, abs=0.1)
def test_error():
    with pytest.raises(ValueError, match="below absolute zero") as caught:
        Temperature(-300)
    assert "-300" in str(caught.value)
    assert caught.type is ValueError
def test_output(warm, capsys):
    show(warm)
    assert capsys.readouterr().out == "25 C\n"
class TestGrouped:
    def test_kind(self, warm):
        assert isinstance(warm, Temperature)
