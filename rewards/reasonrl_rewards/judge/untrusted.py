"""Texts that a policy wrote, made safe to show to a judge: told apart from instructions, and without control tokens.

What remains is persuasion: a judge may believe a completion that praises itself. docs/rewards/judge.md says how to
measure that.
"""

import re
from collections.abc import Sequence
from typing import Final

from reasonrl import digest

CONTROL_TOKEN: Final = re.compile(
    r"<(?=[|｜])"  # <|im_end|>, <|eot_id|>, <｜User｜>
    r"|(?<=[|｜])(?=>)"
    r"|<(?=/?(?:s|bos|eos|pad|unk|mask|cls|sep|sop|eop|(?:start|end|begin)_of_\w+)>)"  # </s>, <end_of_turn>
    r"|<(?=</?SYS>>)"  # <<SYS>>
    r"|\[(?=/?(?:[A-Z][A-Z_]{2,}|gMASK|sMASK)\])"  # [/INST], [SYSTEM_PROMPT]
)
"""Where a spelling of a control token can be broken. A server turns such a spelling inside a message into the token
itself, so that a completion could end its own message and write the judge's reply."""

BREAK: Final = "\N{ZERO WIDTH SPACE}"


def harmless(text: str) -> str:
    """Return a text in which no tokenizer reads a control token, with invisible spaces inside their spellings.

    Unpaired surrogates, which no request can hold, become U+FFFD.
    """
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return CONTROL_TOKEN.sub(lambda match: f"{match[0]}{BREAK}", whole)


def boundary_for(texts: Sequence[str]) -> str:
    """Return a code that none of the texts contains, always the same for the same texts.

    It depends on all of them, so that a text cannot be written to contain it.

    Args:
        texts: as :func:`harmless` returns them.
    """
    code = digest("boundary", *texts)
    while any(code in text for text in texts):
        code = digest(code)
    return code


def enclosed(label: str, text: str, boundary: str) -> str:
    """Return a text between two lines that carry its label and the boundary."""
    return f"[{label} {boundary}]\n{text}\n[end of {label} {boundary}]"
