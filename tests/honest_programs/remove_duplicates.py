# entry: remove_duplicates
# wrong: kept[-1] != number => True
def remove_duplicates(nums):
    kept = []
    for number in nums:
        if not kept or kept[-1] != number:
            kept.append(number)
    nums[: len(kept)] = kept
    return len(kept)
# ---- tests
nums = [1, 1, 2, 2, 3]
k = remove_duplicates(nums)
assert k == 3
assert nums[:k] == [1, 2, 3]
