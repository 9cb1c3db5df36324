# entry: roll
# names: roll, today_text
# wrong: randint(1, 6) + randint(1, 6) => randint(1, 6)
from datetime import date
from random import randint


def now():
    return date.today()


def roll():
    return randint(1, 6) + randint(1, 6)


def today_text():
    return now().isoformat()
# ---- tests-file
import datetime
from unittest.mock import Mock, patch
import solution
with patch("solution.randint", return_value=4):
    rolled = roll()
assert rolled == 8
with patch.object(solution, "now", lambda: datetime.date(2024, 5, 6)):
    text = today_text()
assert text == "2024-05-06"
assert today_text() != "2024-05-06"
