"""Score a file of pairs with a reward, through the workers that a run would use."""

import json
import os
import resource
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Semaphore
from typing import Any, BinaryIO, Final, TypeAlias, TypeVar

from reasonrl import ConfigError, Rollout, Score
from reasonrl.config.settings import RewardRef, ScoringSettings
from reasonrl.plugins.hookspecs import GIVEN
from reasonrl.plugins.lookup import Plugins, parameter_fields
from reasonrl.scoring.caller import RewardCaller
from reasonrl.scoring.contract import Reward, load_reward
from reasonrl.scoring.functions import num_workers
from reasonrl.system.summary import Summary
from reasonrl_author.pairs import FileContents, Form, Label, Pair, read_pairs, scan_pairs
from reasonrl_author.preferences import PreferenceSummary, count_preferences, preference_record, read_preferences
from reasonrl_author.rollouts import problem_of, rollout_of
from reasonrl_author.summary import GradingSummary, is_right

CALLS_PER_WORKER: Final = 32
"""Rows that wait for each worker, so that none is ever idle."""

MAX_UNWRITTEN: Final = 20_000
"""Scores that are held back, to be written in order, by one that takes long."""

Row = TypeVar("Row")
"""What a line of the file of scores is about."""

Call: TypeAlias = tuple[Row, str, Sequence[Sequence[Rollout]]]
"""A row, the name of its reward, and the rollouts of each call of it."""


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
    ref: RewardRef,
    pairs: Path,
    out: Path,
    settings: ScoringSettings,
    plugins: Plugins,
    *,
    bare: bool,
    overwrite: bool,
    threshold: float = 1.0,
) -> Summary:
    """Write the score of every row of a file, in its order, and return a summary.

    Args:
        ref: the reward.
        pairs: file of rows with id, answer and text.
        out: file of scores; it appears when it is complete.
        settings: workers and time limit.
        plugins: where the reward comes from.
        bare: texts are answers, not replies, where a row does not say which.
        overwrite: replace a file that exists.
        threshold: smallest value that counts as right.

    Raises:
        DataError: a line is not a row, before anything is scored.
        ConfigError: the file of scores exists, or cannot be written.
        PluginError: there is no such reward, or it cannot read bare answers.
    """
    _refuse_bad_out(pairs, out, overwrite)
    contents = scan_pairs(pairs)
    rewards = _rewards(ref, contents, bare, plugins)
    summary = GradingSummary(rewards.used()[0].unit, threshold)
    began, cpu_s = time.monotonic(), _cpu_s()
    with _opened(out) as file, RewardCaller(rewards.used(), settings) as caller:
        for label, (score,) in _scores(caller, _calls(pairs, rewards), _max_pending(settings)):
            file.write(_line(score_record(label, score, threshold)))
            summary.add(label, score)
        seconds = time.monotonic() - began
        _publish(file, out)
    return summary.report(ref.key, contents, out, seconds, _cpu_s() - cpu_s)


def grade_preferences(
    ref: RewardRef, pairs: Path, out: Path, settings: ScoringSettings, plugins: Plugins, *, overwrite: bool
) -> Summary:
    """Write the scores of both completions of every pair of a file, in its order, and return a summary.

    Args:
        ref: the reward.
        pairs: file in TRL's preference schema.
        out: file of scores; it appears when it is complete.
        settings: workers and time limit.
        plugins: where the reward comes from.
        overwrite: replace a file that exists.

    Raises:
        DataError: a row is no pair, before anything is scored.
        ConfigError: the file of scores exists, or cannot be written.
        PluginError: there is no such reward.
    """
    _refuse_bad_out(pairs, out, overwrite)
    count_preferences(pairs)
    reward = load_reward(ref, plugins)
    summary = PreferenceSummary(reward.unit)
    began, cpu_s = time.monotonic(), _cpu_s()
    calls = ((pair, reward.name, pair.units(reward.unit)) for pair in read_preferences(pairs))
    with _opened(out) as file, RewardCaller([reward], settings) as caller:
        for pair, scores in _scores(caller, calls, _max_pending(settings)):
            chosen, rejected = pair.in_order(scores, reward.unit)
            file.write(_line(preference_record(pair, chosen, rejected)))
            summary.add(pair, chosen, rejected)
        seconds = time.monotonic() - began
        _publish(file, out)
    return summary.report(ref.key, out, seconds, _cpu_s() - cpu_s)


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


def _calls(pairs: Path, rewards: RewardsByForm) -> Iterator[Call[Label]]:
    """Yield the label, the name of the reward and the rollout of every row."""
    for number, pair in enumerate(read_pairs(pairs)):
        problem = problem_of(pair.answer, id=str(pair.label.id), prompt=pair.prompt, meta=pair.meta)
        yield pair.label, rewards.of(pair).name, [[rollout_of(problem, pair.text, seed=number)]]


def _max_pending(settings: ScoringSettings) -> int:
    return CALLS_PER_WORKER * (settings.workers or num_workers())


def _scores(
    caller: RewardCaller, calls: Iterator[Call[Row]], max_pending: int
) -> Iterator[tuple[Row, tuple[Score, ...]]]:
    """Yield the scores in the order of the rows; rows after a slow one are scored meanwhile."""
    free = Semaphore(max_pending)
    submitted: deque[tuple[Row, list[Future[tuple[Score, ...]]]]] = deque()
    for row, name, units in calls:
        while submitted and (len(submitted) >= MAX_UNWRITTEN or all(one.done() for one in submitted[0][1])):
            yield _next_scores(submitted)
        submitted.append((row, [_submit(caller, name, unit, free) for unit in units]))
    while submitted:
        yield _next_scores(submitted)


def _submit(
    caller: RewardCaller, name: str, rollouts: Sequence[Rollout], free: Semaphore
) -> "Future[tuple[Score, ...]]":
    free.acquire()
    future = caller.submit(name, rollouts)
    future.add_done_callback(lambda _: free.release())
    return future


def _next_scores(submitted: "deque[tuple[Row, list[Future[tuple[Score, ...]]]]]") -> tuple[Row, tuple[Score, ...]]:
    row, futures = submitted.popleft()
    return row, tuple(score for future in futures for score in future.result())


def score_record(label: Label, score: Score, threshold: float) -> Mapping[str, Any]:
    """Return a score as its line has it; ``right`` is null where there is no value. Any: JSON values."""
    return {
        "id": label.id,
        "value": score.value,
        "right": is_right(score, threshold),
        "outcome": score.outcome,
        "why": score.why,
        "parts": dict(score.parts),
        "run_s": round(score.run_s, 6),
        "queue_s": round(score.queue_s, 6),
    }


def _line(record: Mapping[str, Any]) -> bytes:
    """Return a line of the file of scores. Any: JSON values."""
    # ASCII escapes keep any text, unpaired surrogates included.
    return (json.dumps(record, allow_nan=False) + "\n").encode("ascii")


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
