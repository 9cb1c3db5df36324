"""The reward of `benchmarks/hosts.py`: the answer becomes a program, which a sandbox server runs."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from reasonrl import Rollout, Score, SharedResource, keeps_open
from reasonrl_grading.answers import as_number, read_answer
from reasonrl_sandbox import SandboxSpec, StdioCase, StdioTests, close_shared, judge, shared_sandbox


@contextmanager
def _connected(urls: tuple[str, ...]) -> Iterator[SharedResource]:
    """Keep the connection to the servers open."""
    spec = SandboxSpec(urls=urls)
    yield SharedResource(slots=2 * shared_sandbox(spec).slots, timeout_s=600.0, note=f"programs on {', '.join(urls)}")
    close_shared(spec)


@keeps_open(_connected)
async def printed_answer(rollout: Rollout, *, urls: tuple[str, ...]) -> Score:
    """1 if a program that prints the number in the answer tag prints the right one, else 0.

    Args:
        rollout: what is scored.
        urls: servers that run the programs.
    """
    given = read_answer(rollout, ("answer_tag",))
    if given is None or as_number(given) is None:
        return Score(0.0, "no number in an answer tag", parts={"answered": float(given is not None)})
    tests = StdioTests((StdioCase("", rollout.problem.answer),))
    result = await asyncio.to_thread(judge, shared_sandbox(SandboxSpec(urls=urls)), f"print({given.strip()!r})", tests)
    if result.outcome == "sandbox_error":
        return Score(None, f"sandbox_error: {result.detail}", "error")
    return Score(float(result.outcome == "passed"), f"{result.outcome}: {given}", parts={"answered": 1.0})
