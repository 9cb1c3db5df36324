# entry: add_days
# wrong: timedelta(days=n) => timedelta(days=n + 1)
from datetime import date, datetime, timedelta, timezone


def add_days(day, n):
    return day + timedelta(days=n)
# ---- tests
from datetime import date, datetime, timedelta, timezone
assert add_days(date(2024, 2, 28), 1) == date(2024, 2, 29)
assert add_days(datetime(2024, 1, 1, 12), 2) == datetime(2024, 1, 3, 12)
assert add_days(datetime(2024, 1, 1, tzinfo=timezone.utc), 1).tzinfo is not None
assert add_days(timedelta(hours=1), 1) == timedelta(days=1, hours=1)
assert add_days(date(2024, 1, 1), 0).isoformat() == "2024-01-01"
