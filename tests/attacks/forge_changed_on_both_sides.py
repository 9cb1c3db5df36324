# expect: failed | runtime_error | unscorable
# tests: {"asserts": {"entry": "sort", "source": "numbers, wanted = [3, 1, 2], [1, 2, 3]\nsort(numbers, wanted)\nassert numbers == [1, 2, 3]\nassert wanted == [1, 2, 3]"}}
def sort(numbers, like):
    numbers.clear()
    like.clear()
