"""Score a file of pairs with a reward, through the workers that a run would use."""

import json
import os
import resource
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Semaphore
from typing import Any, BinaryIO, Final

from reasonrl import ConfigError, Rollout, Score
from reasonrl.config.settings import RewardRef, ScoringSettings
from reasonrl.plugins.hookspecs import GIVEN
from reasonrl.plugins.lookup import Plugins, parameter_fields
from reasonrl.scoring.caller import RewardCaller
from reasonrl.scoring.contract import Reward, load_reward
from reasonrl.scoring.functions import num_workers
from reasonrl_author.pairs import FileContents, Form, Label, Pair, read_pairs, scan_pairs
from reasonrl_author.rollouts import problem_of, rollout_of
from reasonrl_author.summary import GradingSummary

CALLS_PER_WORKER: Final = 32
"""Rows that wait for each worker, so that none is ever idle."""

MAX_UNWRITTEN: Final = 20_000
"""Scores that are held back, to be written in order, by one that takes long."""


@dataclass(frozen=True, slots=True)
class RewardsByForm:
    """The reward as it reads replies and as it reads bare answers, where the file has such texts."""

    reply: Reward | None
    bare: Reward | None
    texts_are_bare: bool
    """What a text is where its row does not say."""

    def used(self) -> list[Reward]:
        """Return those that the file needs."""
        return [reward for reward in (self.reply, self.bare) if reward is not None]

    def of(self, pair: Pair) -> Reward:
        """Return the one for a row."""
        reward = self.bare if _is_bare(pair.form, self.texts_are_bare) else self.reply
        assert reward is not None, "one was loaded for every form in the file"
        return reward


def grade_pairs(
    ref: RewardRef, pairs: Path, out: Path, settings: ScoringSettings, plugins: Plugins, *, bare: bool, overwrite: bool
) -> str:
    """Write the score of every row of a file, in its order, and return a summary.

    Args:
        ref: the reward.
        pairs: file of rows with id, answer and text.
        out: file of scores; it appears when it is complete.
        settings: workers and time limit.
        plugins: where the reward comes from.
        bare: texts are answers, not replies, where a row does not say which.
        overwrite: replace a file that exists.

    Raises:
        DataError: a line is not a row, before anything is scored.
        ConfigError: the file of scores exists, or cannot be written.
        PluginError: there is no such reward, or it cannot read bare answers.
    """
    _refuse_bad_out(pairs, out, overwrite)
    contents = scan_pairs(pairs)
    rewards = _rewards(ref, contents, bare, plugins)
    summary = GradingSummary(rewards.used()[0].unit)
    began, cpu_s = time.monotonic(), _cpu_s()
    with _opened(out) as file, RewardCaller(rewards.used(), settings) as caller:
        for label, score in _scores(caller, _calls(pairs, rewards), _max_pending(settings)):
            file.write(_line(label, score))
            summary.add(label, score)
        seconds = time.monotonic() - began
        _publish(file, out)
    return summary.report(ref.key, contents, out, seconds, _cpu_s() - cpu_s)


def _refuse_bad_out(pairs: Path, out: Path, overwrite: bool) -> None:
    if out.is_dir():
        raise ConfigError(f"--out {out}: that is a folder. Name a file.")
    if out.resolve() == pairs.resolve():
        raise ConfigError(f"--out {out}: that is the file of pairs. Name another file.")
    if out.exists() and not overwrite:
        raise ConfigError(f"{out} exists already. Give another --out, or --overwrite to replace it.")


def _rewards(ref: RewardRef, contents: FileContents, bare: bool, plugins: Plugins) -> RewardsByForm:
    needed = {_is_bare(form, bare) for form in contents.forms}
    return RewardsByForm(
        reply=load_reward(ref, plugins) if False in needed else None,
        bare=load_reward(reading_bare_answers(ref, plugins), plugins) if True in needed else None,
        texts_are_bare=bare,
    )


def _is_bare(form: Form, texts_are_bare: bool) -> bool:
    return form == "bare" or (texts_are_bare and form != "reply")


def reading_bare_answers(ref: RewardRef, plugins: Plugins) -> RewardRef:
    """Return the reward as it reads texts that are only an answer.

    Raises:
        ConfigError: it has no parameter that says so.
    """
    if "sources" not in parameter_fields(plugins.find("rewards", ref.name).value, GIVEN["rewards"]):
        raise ConfigError(
            f"reward {ref.name!r} has no parameter 'sources', so it cannot be told that a text is an answer already. "
            "Give replies that hold the answer, without --bare, or use a reward with 'sources', such as 'math'."
        )
    if "sources" in ref.params:
        raise ConfigError("bare answers are read with sources = [whole]: leave --param sources out.")
    return ref.model_copy(update={"params": {**ref.params, "sources": ["whole"]}, "label": f"{ref.key} (bare)"})


def _calls(pairs: Path, rewards: RewardsByForm) -> Iterator[tuple[Label, str, Rollout]]:
    """Yield the label, the name of the reward and the rollout of every row."""
    for number, pair in enumerate(read_pairs(pairs)):
        problem = problem_of(pair.answer, id=str(pair.label.id), prompt=pair.prompt, meta=pair.meta)
        yield pair.label, rewards.of(pair).name, rollout_of(problem, pair.text, seed=number)


def _max_pending(settings: ScoringSettings) -> int:
    return CALLS_PER_WORKER * (settings.workers or num_workers())


def _scores(
    caller: RewardCaller, calls: Iterator[tuple[Label, str, Rollout]], max_pending: int
) -> Iterator[tuple[Label, Score]]:
    """Yield the scores in the order of the rows; rows after a slow one are scored meanwhile."""
    free = Semaphore(max_pending)
    submitted: deque[tuple[Label, Future[tuple[Score, ...]]]] = deque()
    for label, name, rollout in calls:
        while submitted and (len(submitted) >= MAX_UNWRITTEN or submitted[0][1].done()):
            yield _next_score(submitted)
        free.acquire()
        future = caller.submit(name, [rollout])
        future.add_done_callback(lambda _: free.release())
        submitted.append((label, future))
    while submitted:
        yield _next_score(submitted)


def _next_score(submitted: "deque[tuple[Label, Future[tuple[Score, ...]]]]") -> tuple[Label, Score]:
    label, future = submitted.popleft()
    (score,) = future.result()
    return label, score


def score_record(label: Label, score: Score) -> Mapping[str, Any]:
    """Return a score as its line has it; ``right`` is null where there is no value. Any: JSON values."""
    return {
        "id": label.id,
        "value": score.value,
        "right": None if score.value is None else score.value >= 1.0,
        "outcome": score.outcome,
        "why": score.why,
        "run_s": round(score.run_s, 6),
        "queue_s": round(score.queue_s, 6),
    }


def _line(label: Label, score: Score) -> bytes:
    # ASCII escapes keep any text, unpaired surrogates included.
    return (json.dumps(score_record(label, score), allow_nan=False) + "\n").encode("ascii")


@contextmanager
def _opened(out: Path) -> Iterator[BinaryIO]:
    """Open the file of scores under another name; it is removed unless it was published."""
    partial = _partial(out)
    try:
        file = partial.open("wb")
    except OSError as error:
        raise ConfigError(f"--out: {partial.parent} cannot be written to: {error.strerror}.") from None
    try:
        with file:
            yield file
    finally:
        partial.unlink(missing_ok=True)


def _publish(file: BinaryIO, out: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    os.replace(_partial(out), out)


def _partial(out: Path) -> Path:
    return out.with_name(f".{out.name}.partial")


def _cpu_s() -> float:
    """Return the processor time of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
