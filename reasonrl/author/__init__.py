"""The author kit: begin a reward, try it, check it, and grade files with it.

What a reward's own tests need is here; the commands under ``reasonrl rewards`` do the same from a terminal.
"""

from reasonrl.author.check import check_reward
from reasonrl.author.report import Finding, Report
from reasonrl.author.trying import score_text, score_texts

__all__ = ["Finding", "Report", "check_reward", "score_text", "score_texts"]
