"""Runs many requests side by side: on an event loop of their own, with a deadline, until the first error."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeAlias, TypeVar

from reasonrl.engines import Engine, Request
from reasonrl.errors import EngineError
from reasonrl.system.event_loop import run_until_complete
from reasonrl.types import Trajectory

Finished: TypeAlias = Callable[[int, Trajectory], None]
"""Called with the position of a request and its completion; what it raises ends the sampling."""

Result = TypeVar("Result")


def sample_all(
    engine: Engine, requests: Sequence[Request], *, timeout_s: float | None = None, finished: Finished | None = None
) -> list[Trajectory]:
    """Return the completions in the order of the requests.

    Args:
        engine: samples them.
        requests: those with equal prompts follow one another.
        timeout_s: longest time for all of them; None sets no limit.
        finished: called with each completion once, as soon as it is finished.

    Raises:
        ModelError: a prompt and its longest completion do not fit the model.
        EngineError: it took longer than ``timeout_s``, was aborted, or the engine is lost.
    """
    return run_sampling(_generate_all(engine, requests, finished), engine, timeout_s=timeout_s)


def run_sampling(work: Coroutine[Any, Any, Result], engine: Engine, *, timeout_s: float | None = None) -> Result:
    """Run a coroutine that awaits ``engine.generate`` on an event loop of its own; return its result.

    When it ends, so do all tasks that it started. Any: what a coroutine yields is the event loop's.

    Args:
        work: may start tasks.
        engine: aborted when the work fails, because an engine's own threads are not ended by cancelling tasks.
        timeout_s: longest time; None sets no limit.

    Raises:
        EngineError: it took longer than ``timeout_s``, or ``engine.abort()`` was called.
    """
    return run_until_complete(_with_deadline(work, engine, timeout_s))


async def _generate_all(engine: Engine, requests: Sequence[Request], finished: Finished | None) -> list[Trajectory]:
    async def generate(position: int, request: Request) -> Trajectory:
        trajectory = await engine.generate(request)
        if finished is not None:
            finished(position, trajectory)
        return trajectory

    return await asyncio.gather(*(generate(position, request) for position, request in enumerate(requests)))


async def _with_deadline(work: Coroutine[Any, Any, Result], engine: Engine, timeout_s: float | None) -> Result:
    try:
        async with asyncio.timeout(timeout_s) as deadline:
            return await work
    except BaseException as error:
        engine.abort()
        if deadline.expired() and isinstance(error, TimeoutError):
            raise EngineError(
                f"sampling took longer than {timeout_s:g} s and was ended. Raise rollout.timeout_s, or sample less at "
                "once: lower rollout.prompts_per_step or rollout.max_new_tokens."
            ) from None
        raise
