# expect: passed
# tests: {"calls": {"entry": "count", "cases": [{"args": ["abca"], "expected": {"a": 2, "b": 1, "c": 1}}]}}
import collections


def count(text):
    counts = collections.defaultdict(int)
    for letter in collections.deque(text):
        counts[letter] += 1
    return collections.Counter(counts)
