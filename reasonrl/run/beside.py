"""Evaluations beside learning: where the engine is free, held-out suites are measured in a thread meanwhile.

The evaluation after step s is begun when step s + 1 has been sampled and is over before the engine is given the weights
of that step, so before there is a checkpoint of it: the engine samples with what it would sample with in place, and a
run that is stopped in between measures what is missing when it is resumed.

The thread uses none of the process's random generators, which the learner may be drawing from: an engine has one for
each request, and rewards and metrics run in other processes. With a reward that needs this process suites are measured
in place.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import Future, wait
from threading import Thread
from time import monotonic
from typing import Final

import torch

from reasonrl.config.settings import RunConfig
from reasonrl.engines import Engine, Request
from reasonrl.plugins.types import Suite
from reasonrl.run.heldout import HeldoutSuites, Measured
from reasonrl.run.reward_beside_metric import scores_heldout
from reasonrl.scoring.contract import Reward
from reasonrl.types import Trajectory

MAX_END_S: Final = 10.0
"""Longest time that a run which was stopped waits for its thread: an aborted engine ends soon, a metric may not."""


def is_engine_free(config: RunConfig, rewards: Sequence[Reward], *, shares_weights: bool) -> bool:
    """Say whether a run's engine can sample held-out completions while the learner learns.

    Args:
        config: the run.
        rewards: the run's.
        shares_weights: whether the engine samples from the module that is being trained.
    """
    gives_memory = config.rollout.engine.name == "vllm" and config.vllm.sleep
    needs_process = scores_heldout(config, rewards) and any(reward.in_process for reward in rewards)
    is_busy = shares_weights or gives_memory or bool(config.rollout.async_steps)
    return config.evaluation.beside_learning == "auto" and not (is_busy or needs_process)


class EvaluationBesideLearning:
    """An engine for the loop that measures what is due while it would idle, and then loads new weights.

    Args:
        engine: has weights of its own.
        heldout: measures with it.
    """

    def __init__(self, engine: Engine, heldout: HeldoutSuites) -> None:
        self.policy_version = engine.policy_version
        self.shares_weights = engine.shares_weights
        self.loads_while_sampling = engine.loads_while_sampling
        self._engine = engine
        self._heldout = heldout
        self._due: int | None = None
        self._measuring: Future[list[Measured]] | None = None

    def postpone(self, step: int) -> None:
        """Have the evaluation after a step done while the next one is learned."""
        self._due = step

    async def generate(self, request: Request) -> Trajectory:
        """Sample with the engine."""
        return await self._engine.generate(request)

    def abort(self) -> None:
        """End what is being sampled."""
        self._engine.abort()

    def sleep(self) -> None:
        """Begin what is due: the batch is sampled, and the learner begins."""
        if self._due is None:
            return self._engine.sleep()
        self._measuring = _start_measuring(self._heldout, self._heldout.missing(self._due), self._due)
        return None

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """Wait for what is being measured and tell of it, then load new weights."""
        if self._due is not None and self._measuring is not None:
            step, self._due = self._due, None
            with self._heldout.waiting(step):
                measured = self._measuring.result()
            self._heldout.tell(step, measured)
        self._engine.load_weights(weights, version)
        self.policy_version = self._engine.policy_version

    def close(self) -> None:
        """End what is being measured, where a run stops in the middle of a step; the engine stays open."""
        until = monotonic() + MAX_END_S
        while self._measuring and not self._measuring.done() and monotonic() < until:
            self._engine.abort()  # again each time: the next suite may begin meanwhile
            wait([self._measuring], timeout=0.1)


def _start_measuring(heldout: HeldoutSuites, suites: Sequence[Suite], step: int) -> "Future[list[Measured]]":
    """Measure suites in a daemon thread: one that cannot be ended does not keep the process alive."""
    future: Future[list[Measured]] = Future()
    Thread(target=_measure, args=(heldout, suites, step, future), name="evaluation", daemon=True).start()
    return future


def _measure(heldout: HeldoutSuites, suites: Sequence[Suite], step: int, future: "Future[list[Measured]]") -> None:
    """Measure suites; whatever goes wrong is raised where the results are waited for."""
    try:
        future.set_result([heldout.measure(suite, step) for suite in suites])
    except BaseException as error:
        future.set_exception(error)
