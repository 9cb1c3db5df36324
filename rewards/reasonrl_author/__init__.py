"""The kit for authors of rewards: write one, try it, check it for faults, measure it on labeled answers.

These names are for a reward's own tests; the commands under ``reasonrl rewards`` do the same in a terminal.
"""

from reasonrl_author.check import check_reward
from reasonrl_author.report import Finding, Report
from reasonrl_author.texts import score_text, score_texts

__all__ = ["Finding", "Report", "check_reward", "score_text", "score_texts"]
