"""Read answers out of completions, for rewards and metrics alike.

What comes in is a model's text: nothing here raises on it, runs it as code, or takes more than time linear
in its length. Whether two answers are equal is the business of ``reasonrl.grading``.
"""

from reasonrl.answers.countdown import Verdict, countdown_numbers, solves_countdown
from reasonrl.answers.expressions import evaluate_expression
from reasonrl.answers.extraction import (
    MARKED,
    SPOKEN,
    Source,
    extract_answer,
    outside_thinking,
    read_answer,
    with_opening_tag,
)
from reasonrl.answers.numbers import as_number, same_number
from reasonrl.answers.programs import FENCED, ProgramSource, read_program

__all__ = [
    "FENCED",
    "MARKED",
    "SPOKEN",
    "ProgramSource",
    "Source",
    "Verdict",
    "as_number",
    "countdown_numbers",
    "evaluate_expression",
    "extract_answer",
    "outside_thinking",
    "read_answer",
    "read_program",
    "same_number",
    "solves_countdown",
    "with_opening_tag",
]
