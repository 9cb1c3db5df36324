# entry: tally
# names: tally, last, groups, ordered
# wrong: Counter(words) => Counter(words[1:])
from collections import Counter, OrderedDict, defaultdict, deque


def tally(words):
    return Counter(words)


def last(items, n):
    return deque(items, maxlen=n)


def groups(words):
    found = defaultdict(list)
    for word in words:
        found[word[0]].append(word)
    return found


def ordered(pairs):
    return OrderedDict(sorted(pairs))
# ---- tests-file
from collections import Counter, OrderedDict, deque
assert tally(["a", "b", "a"]) == Counter(a=2, b=1)
assert tally(["a", "b", "a"]).most_common(1) == [("a", 2)]
assert tally("a")["zzz"] == 0
assert last([1, 2, 3], 2) == deque([2, 3])
assert last([1, 2, 3], 2).maxlen == 2
assert groups(["ab", "ac", "b"]) == {"a": ["ab", "ac"], "b": ["b"]}
assert groups(["ab"])["zz"] == []
assert ordered({"b": 1, "a": 2}.items()) == OrderedDict([("a", 2), ("b", 1)])
assert list(ordered({"b": 1, "a": 2}.items())) == ["a", "b"]
