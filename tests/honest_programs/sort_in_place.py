# entry: bubble_sort
# wrong: items[j] > items[j + 1] => items[j] < items[j + 1]
def bubble_sort(items):
    for i in range(len(items)):
        for j in range(len(items) - 1 - i):
            if items[j] > items[j + 1]:
                items[j], items[j + 1] = items[j + 1], items[j]
# ---- tests
numbers = [3, 1, 2]
bubble_sort(numbers)
assert numbers == [1, 2, 3]
for given, expected in [([], []), ([2, 1], [1, 2]), ([5, 5, 1], [1, 5, 5])]:
    bubble_sort(given)
    assert given == expected
assert bubble_sort([1]) is None
