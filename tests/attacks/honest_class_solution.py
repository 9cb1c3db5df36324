# expect: passed
from typing import List  # noqa


class Solution:
    def add(self, a: int, b: int) -> int:
        numbers: List[int] = [a, b]
        return sum(numbers)
