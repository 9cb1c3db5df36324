"""Where the program stands in a completion. It is read as text here; what it does is found out in a sandbox."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from reasonrl.answers.extraction import outside_thinking, with_opening_tag
from reasonrl.types import Rollout

ProgramSource: TypeAlias = Literal["fence", "answer_tag", "whole"]
"""Where a program may stand: in the last fenced block of Python, in ``<answer>...</answer>``, or all of the text."""

FENCED: Final[tuple[ProgramSource, ...]] = ("fence",)
"""What a model must mark as its program."""

PYTHON: Final = ("python", "python3", "py")
"""What a block of Python is called."""

_FENCE = "```"
_ANSWER_TAG = re.compile(r"<answer>((?:(?!</?answer>).)*)</answer>", re.DOTALL)


def read_program(rollout: Rollout, sources: Sequence[ProgramSource] = FENCED) -> str | None:
    """Return the program of a completion, or None: the last one outside thinking from the first source that has one.

    Where the problem has ``meta["stub"]``, the beginning of a program that its prompt shows, that stands before it:
    all of a text goes on where the stub ends, and a marked program begins on a line of its own, so that it may go on or
    begin anew.

    Args:
        rollout: the completion, with its problem.
        sources: where to look, in this order.
    """
    shown = outside_thinking(_with_opening_fence(rollout))
    stub = str(rollout.problem.meta.get("stub", ""))
    for source in sources:
        program = _READERS[source](shown)
        if program is not None and program.strip():
            return f"{stub}\n{program}" if stub and source != "whole" else stub + program
    return None


def _with_opening_fence(rollout: Rollout) -> str:
    """Return the completion, after the thinking or the block that the template opened at the end of the prompt."""
    last_line = rollout.prompt.rstrip().rpartition("\n")[2]
    return f"{last_line}\n{rollout.text}" if last_line.startswith(_FENCE) else with_opening_tag(rollout)


def _in_fence(text: str) -> str | None:
    """Return the last block that is called Python, or else the last one without a name."""
    blocks = list(_blocks(text))
    for names in (PYTHON, ("",)):
        found = [program for name, program in blocks if name in names]
        if found:
            return found[-1]
    return None


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """Yield each fenced block with its name; one that is not closed goes on to the end."""
    name: str | None = None
    lines: list[str] = []
    for line in text.split("\n"):
        plain = line.strip()
        if not plain.startswith(_FENCE):
            lines.append(line)
            continue
        if name is not None:
            yield name, "\n".join(lines)
        called = plain.strip("`").strip().lower()
        name = called.partition(" ")[0] if name is None or called else None
        lines = []
    if name is not None:
        yield name, "\n".join(lines)


def _in_answer_tag(text: str) -> str | None:
    """Return what the last complete answer tag holds, or the block in it."""
    found = _ANSWER_TAG.findall(text)
    if not found:
        return None
    return _in_fence(found[-1]) or found[-1].strip("\n")


_READERS: Mapping[ProgramSource, Callable[[str], str | None]] = {
    "fence": _in_fence,
    "answer_tag": _in_answer_tag,
    "whole": lambda text: text,
}
