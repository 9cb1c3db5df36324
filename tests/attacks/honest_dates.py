# expect: passed
# tests: {"calls": {"entry": "days", "cases": [{"args": ["2024-02-01", "2024-03-01"], "expected": 29}]}}
import datetime


def days(start, end):
    return (datetime.date.fromisoformat(end) - datetime.date.fromisoformat(start)).days
