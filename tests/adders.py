"""Suites of sums and an engine without a model that answers them: what measuring is tested with."""

import dataclasses
import os
import re
import signal
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import torch
from metric_cases import sum_is_right
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from tokenizers.decoders import Fuse
from transformers import PreTrainedTokenizerFast

from reasonrl.config.settings import ScoringSettings
from reasonrl.engines import Engine, Request
from reasonrl.evaluation.journal import Journal
from reasonrl.evaluation.measure import measure
from reasonrl.evaluation.sources import EngineSource
from reasonrl.plugins.lookup import installed_plugins
from reasonrl.plugins.types import Suite
from reasonrl.scoring.metrics import start_metrics
from reasonrl.types import FinishReason, Problem, Trajectory, digest


@cache
def character_tokenizer() -> PreTrainedTokenizerFast:
    """Make a tokenizer whose tokens are characters."""
    characters = [chr(code) for code in range(32, 127)] + ["\n", "<unk>"]
    vocabulary = {character: index for index, character in enumerate(characters)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("[\\s\\S]"), "isolated")
    tokenizer.decoder = Fuse()
    # transformers leaves its constructor without types
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")  # type: ignore[no-untyped-call]


class Adder:
    """An engine that adds the numbers of a prompt, rightly with a probability that falls with their size.

    Whether one completion is right depends on its seed alone, so that a better adder is right wherever a
    worse one is.

    Args:
        skill: the probability of a right sum of small numbers.
    """

    def __init__(self, skill: float) -> None:
        self.skill = skill
        self.policy_version, self.shares_weights, self.loads_while_sampling = 0, True, False
        self.requests: list[Request] = []
        """Everything that was asked of it."""

    async def generate(self, request: Request) -> Trajectory:
        """Answer ``A: sum``, now and then something that is not a number."""
        self.requests.append(request)
        prompt = str(character_tokenizer().decode(list(request.prompt_ids)))
        total, luck = sum(map(int, re.findall(r"\d+", prompt))), Random(request.seed).random()
        right = luck < self.skill * (1 - total / 400)
        text = f"A: {total}" if right else "A: many" if luck > 0.95 else f"A: {total + 1}"
        ids = tuple(character_tokenizer()(text)["input_ids"])[: request.params.max_new_tokens]
        reason: FinishReason = "stop" if len(ids) == len(text) else "length"
        return Trajectory.single_turn(
            token_ids=ids,
            text=str(character_tokenizer().decode(list(ids))),
            logprobs=(0.0,) * len(ids),
            finish_reason=reason,
            policy_version=self.policy_version,
            sample_index=request.sample_index,
            seed=request.seed,
        )

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        self.skill, self.policy_version = float(dict(weights)["skill"]), version

    def abort(self) -> None:
        pass

    def sleep(self) -> None:
        pass

    def close(self) -> None:
        pass


def sums(count: int, start: int = 0) -> list[Problem]:
    """Ask for sums of growing size."""
    terms = [(index, index % 7) for index in range(start, start + count)]
    return [Problem(id=digest(a, b), task="sums", prompt=f"What is {a} + {b}?", answer=str(a + b)) for a, b in terms]


def sums_suite(**changes: Any) -> Suite:
    """Make a suite of forty sums with four samples each. Any: fields of a suite."""
    suite = Suite(
        name="sums",
        problems=sums(40),
        metric=sum_is_right,
        template="plain",
        max_new_tokens=16,
        num_samples=4,
        temperature=1.0,
    )
    return dataclasses.replace(suite, **changes)


def source_of(engine: Engine) -> EngineSource:
    """What measures with an engine."""
    return EngineSource(name="adder", engine=engine, tokenizer=character_tokenizer(), plugins=installed_plugins())


def measure_until_killed(folder: str, rows: int) -> None:
    """Measure the sums with a journal in a folder, and die as by ``kill -9`` after so many rows, in half of one."""

    class Killed(Journal):
        def append(self, *arguments: Any) -> None:
            super().append(*arguments)
            path = self.folder / "samples.jsonl"
            if len(path.read_bytes().splitlines()) == rows:
                with path.open("ab") as file:
                    file.write(b'{"problem_id": "torn')
                os.kill(os.getpid(), signal.SIGKILL)

    with start_metrics([sums_suite()], ScoringSettings(workers=1)) as metrics:
        source = source_of(Adder(0.6))
        measure(sums_suite(), source, metrics=metrics, seed=0, max_concurrent=8, journal=Killed(Path(folder) / "sums"))
