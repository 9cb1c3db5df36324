"""Find the program in a completion. It is only read as text here; a sandbox runs it."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from reasonrl import Rollout
from reasonrl_grading.answers.thinking import declared_tags, outside_thinking, with_opening_tag

ProgramSource: TypeAlias = Literal["fence", "answer_tag", "whole"]
"""Where a program may be: in the last fenced block of Python, in ``<answer>...</answer>``, or all of the text."""

FENCED: Final[tuple[ProgramSource, ...]] = ("fence",)
"""The source that a model must mark as its program."""

PYTHON: Final = ("python", "py")
"""Names of a fenced block of Python, without a version number."""

_FENCE = "```"
_OPENING = re.compile(
    r"(?P<indent>[ \t]*+)(?P<fence>`{3,}+|~{3,}+)[ \t]*+[{.]*+(?P<name>[a-z]*+)[^`]*+",
    re.IGNORECASE,
)
_FUTURE = re.compile(r"^from __future__ import .*$", re.MULTILINE)
_ANSWER_TAG = re.compile(r"<answer>((?:(?!</?answer>).)*)</answer>", re.DOTALL)


def read_program(rollout: Rollout, sources: Sequence[ProgramSource] = FENCED) -> str | None:
    """Return the program of a completion, or None: the last one outside thinking from the first source that has one.

    Where the problem has ``meta["stub"]``, a beginning that its prompt shows or implies, the program is put after it:
    the whole text directly, a marked program on a new line, so that it may continue the stub or repeat it.

    Args:
        rollout: the completion, with its problem.
        sources: where to look, in this order.
    """
    shown = outside_thinking(_with_opening_fence(rollout), also=declared_tags(rollout.prompt))
    stub = str(rollout.problem.meta.get("stub", ""))
    for source in sources:
        program = _READERS[source](shown)
        if program is not None and program.strip():
            return _after_stub(stub, program, "" if source == "whole" else "\n")
    return None


def _after_stub(stub: str, program: str, between: str) -> str:
    """Put a program after its stub; ``from __future__`` imports, which Python wants first, go before both."""
    if not stub:
        return program
    first = "".join(f"{line}\n" for line in _FUTURE.findall(program))
    return f"{first}{stub}{between}{_FUTURE.sub('', program)}"


def _with_opening_fence(rollout: Rollout) -> str:
    """Return the completion after the ``<think>`` or the fence that the template put at the end of the prompt."""
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
    """Yield (name, text) of each fenced block as in CommonMark; a block without a closing fence ends with the text.

    Unlike CommonMark, a fence with a name ends the block before it, and a closing fence may follow code on its line.
    """
    opened: re.Match[str] | None = None
    lines: list[str] = []
    for line in text.split("\n"):
        found = _OPENING.fullmatch(line)
        if opened is None:
            opened, lines = found, []
        elif (code := _before_closing(line, opened["fence"])) is not None:
            yield _block(opened, [*lines, code] if code.strip() else lines)
            opened = None
        elif found and found["name"] and found["fence"] == opened["fence"]:
            yield _block(opened, lines)
            opened, lines = found, []
        else:
            lines.append(line)
    if opened is not None:
        yield _block(opened, lines)


def _before_closing(line: str, fence: str) -> str | None:
    """Return the code before a closing fence, at least as long as the opening one, or None where the line has none."""
    line = line.rstrip()
    code = line.rstrip(fence[0])
    return code if len(line) - len(code) >= len(fence) else None


def _block(opened: re.Match[str], lines: Sequence[str]) -> tuple[str, str]:
    return opened["name"].lower(), "\n".join(line.removeprefix(opened["indent"]) for line in lines)


def _in_answer_tag(text: str) -> str | None:
    """Return the content of the last complete answer tag, or the fenced block in it."""
    found = _ANSWER_TAG.findall(text)
    if not found:
        return None
    return _in_fence(found[-1]) or found[-1].strip("\n")


_READERS: Mapping[ProgramSource, Callable[[str], str | None]] = {
    "fence": _in_fence,
    "answer_tag": _in_answer_tag,
    "whole": lambda text: text,
}
