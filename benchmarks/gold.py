"""What stands for people's preferences in ``over_optimization.py``."""

import re

from reasonrl import Rollout, Score


def gold(rollout: Rollout) -> Score:
    """1 for the right answer, 0.3 for any in tags, less 0.02 for each character beyond 120."""
    found = re.search(r"<answer>\s*(-?\d+)\s*</answer>", rollout.text)
    right = found is not None and found[1] == rollout.problem.answer
    excess = max(0, len(rollout.text) - 120)
    return Score(float(right) + 0.3 * (found is not None) - 0.02 * excess, f"right: {right}, {excess} too long")
