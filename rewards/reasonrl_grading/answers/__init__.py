"""Extract answers from completions, for rewards and metrics.

The input is a model's text: nothing here raises on it, runs it as code, or takes more than time linear in its length.
Whether two answers are equal is decided by ``reasonrl_grading``.
"""

from reasonrl_grading.answers.arithmetic import evaluate_expression
from reasonrl_grading.answers.countdown import CountdownResult, countdown_numbers, solves_countdown
from reasonrl_grading.answers.extraction import (
    MARKED,
    MARKED_AND_PROSE,
    Source,
    extract_answer,
    read_answer,
)
from reasonrl_grading.answers.numbers import as_number, same_number
from reasonrl_grading.answers.programs import FENCED, ProgramSource, read_program
from reasonrl_grading.answers.statements import stated_value
from reasonrl_grading.answers.thinking import outside_thinking, shown_text, thinking_tag, with_opening_tag

__all__ = [
    "FENCED",
    "MARKED",
    "MARKED_AND_PROSE",
    "CountdownResult",
    "ProgramSource",
    "Source",
    "as_number",
    "countdown_numbers",
    "evaluate_expression",
    "extract_answer",
    "outside_thinking",
    "read_answer",
    "read_program",
    "same_number",
    "shown_text",
    "solves_countdown",
    "stated_value",
    "thinking_tag",
    "with_opening_tag",
]
