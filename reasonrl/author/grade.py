"""Grade a file of answered questions with a reward, through the workers that a run would use."""

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
from typing import Any, BinaryIO, Final, TypeAlias

from reasonrl.author.pairs import Census, Pair, Wanted, read_pairs, take_census
from reasonrl.author.samples import problem_of, rollout_of
from reasonrl.author.tally import Tally
from reasonrl.config import RewardRef, ScoringSettings
from reasonrl.errors import ConfigError
from reasonrl.hookspecs import GIVEN
from reasonrl.plugins import Plugins, parameter_fields
from reasonrl.runs.atomic import partial_of
from reasonrl.scoring.caller import Caller, num_workers
from reasonrl.scoring.contract import Reward, load_reward
from reasonrl.types import Rollout, Score

IN_FLIGHT_PER_WORKER: Final = 32
"""Rows that wait for each worker, so that none is ever idle."""

MOST_AHEAD: Final = 20_000
"""Verdicts that wait, to be written in order, for one that takes long."""

Pending: TypeAlias = tuple[Wanted, "Future[tuple[Score, ...]]"]


@dataclass(frozen=True, slots=True)
class Forms:
    """The reward as it reads replies and as it reads bare answers, where the file has such."""

    reply: Reward | None
    bare: Reward | None

    def used(self) -> list[Reward]:
        """Return those that are needed."""
        return [reward for reward in (self.reply, self.bare) if reward is not None]

    def of(self, pair: Pair, bare: bool) -> Reward:
        """Return the one for a row."""
        reward = self.bare if _is_bare(pair.form, bare) else self.reply
        assert reward is not None, "the census knows every form that the file has"
        return reward


def grade_pairs(
    ref: RewardRef, pairs: Path, out: Path, settings: ScoringSettings, plugins: Plugins, *, bare: bool, overwrite: bool
) -> str:
    """Write a verdict for every row of a file, in its order, and return what they come to.

    Args:
        ref: the reward.
        pairs: file of rows with id, answer and text.
        out: file of verdicts; it appears when all of them are there.
        settings: workers and time limit.
        plugins: where the reward comes from.
        bare: texts are answers, not replies, where a row does not say which.
        overwrite: replace a file that is there.

    Raises:
        DataError: a row is none, before anything is graded.
        ConfigError: the file of verdicts is there, or cannot be.
        PluginError: there is no such reward, or it cannot read bare answers.
    """
    _refuse_bad_out(pairs, out, overwrite)
    census = take_census(pairs)
    forms = _forms(ref, census, bare, plugins)
    tally = Tally(forms.used()[0].unit)
    began, cpu_s = time.monotonic(), _cpu_s()
    with _opened(out) as file, Caller(forms.used(), settings) as caller:
        for wanted, score in _verdicts(caller, _calls(pairs, forms, bare), _in_flight(settings)):
            file.write(_line(wanted, score))
            tally.add(wanted, score)
        grading_s = time.monotonic() - began
        _publish(file, out)
    return tally.summary(ref.key, census, out, grading_s, _cpu_s() - cpu_s)


def _refuse_bad_out(pairs: Path, out: Path, overwrite: bool) -> None:
    """Refuse to replace what is there, before hours of grading."""
    if out.is_dir():
        raise ConfigError(f"--out {out}: that is a folder. Name a file.")
    if out.resolve() == pairs.resolve():
        raise ConfigError(f"--out {out}: that is the file of pairs. Name another file.")
    if out.exists() and not overwrite:
        raise ConfigError(f"{out} exists already. Give another --out, or --overwrite to replace it.")


def _forms(ref: RewardRef, census: Census, bare: bool, plugins: Plugins) -> Forms:
    """Load the reward for the forms that a file has."""
    wanted = {_is_bare(form, bare) for form in census.forms}
    return Forms(
        reply=load_reward(ref, plugins) if False in wanted else None,
        bare=load_reward(reading_bare_answers(ref, plugins), plugins) if True in wanted else None,
    )


def _is_bare(form: str, bare: bool) -> bool:
    """Say whether a text is an answer already: the row says so, or else the command."""
    return form == "bare" or (bare and form != "reply")


def reading_bare_answers(ref: RewardRef, plugins: Plugins) -> RewardRef:
    """Return the reward as it reads texts that are answers already.

    Raises:
        ConfigError: it cannot be told so.
    """
    if "sources" not in parameter_fields(plugins.find("rewards", ref.name).value, GIVEN["rewards"]):
        raise ConfigError(
            f"reward {ref.name!r} has no parameter 'sources', so it cannot be told that a text is an answer already. "
            "Give replies that hold the answer, without --bare, or use a reward with 'sources', such as 'math'."
        )
    if "sources" in ref.params:
        raise ConfigError("bare answers are read with sources = [whole]: leave --param sources out.")
    return ref.model_copy(update={"params": {**ref.params, "sources": ["whole"]}, "label": f"{ref.key} (bare)"})


def _calls(pairs: Path, forms: Forms, bare: bool) -> Iterator[tuple[Wanted, str, Rollout]]:
    """Yield (row, name of the reward, rollout) for every row."""
    for number, pair in enumerate(read_pairs(pairs)):
        problem = problem_of(pair.answer, id=str(pair.wanted.id), prompt=pair.prompt, meta=pair.meta)
        yield pair.wanted, forms.of(pair, bare).name, rollout_of(problem, pair.text, seed=number)


def _in_flight(settings: ScoringSettings) -> int:
    """Return how many rows may be on their way at once."""
    return IN_FLIGHT_PER_WORKER * (settings.workers or num_workers())


def _verdicts(
    caller: Caller, calls: Iterator[tuple[Wanted, str, Rollout]], in_flight: int
) -> Iterator[tuple[Wanted, Score]]:
    """Yield the verdicts in the order of the rows; rows behind a slow one are graded meanwhile."""
    room = Semaphore(in_flight)
    ahead: deque[Pending] = deque()
    for wanted, name, rollout in calls:
        while ahead and (len(ahead) >= MOST_AHEAD or ahead[0][1].done()):
            yield _settled(ahead.popleft())
        room.acquire()
        future = caller.submit(name, [rollout])
        future.add_done_callback(lambda _: room.release())
        ahead.append((wanted, future))
    while ahead:
        yield _settled(ahead.popleft())


def _settled(pending: Pending) -> tuple[Wanted, Score]:
    """Wait for one verdict."""
    wanted, future = pending
    (score,) = future.result()
    return wanted, score


def verdict_record(wanted: Wanted, score: Score) -> Mapping[str, Any]:
    """Return a verdict as its line has it; ``right`` is null where there is no value. Any: JSON values."""
    return {
        "id": wanted.id,
        "value": score.value,
        "right": None if score.value is None else score.value >= 1.0,
        "outcome": score.outcome,
        "why": score.why,
        "run_s": round(score.run_s, 6),
        "queue_s": round(score.queue_s, 6),
    }


def _line(wanted: Wanted, score: Score) -> bytes:
    """Return one line of the file of verdicts; any text survives, unpaired surrogates included."""
    return (json.dumps(verdict_record(wanted, score), allow_nan=False) + "\n").encode("ascii")


@contextmanager
def _opened(out: Path) -> Iterator[BinaryIO]:
    """Open the file of verdicts beside its place; unless it is published, nothing of it stays."""
    partial = partial_of(out)
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
    """Give a finished file its name."""
    file.flush()
    os.fsync(file.fileno())
    os.replace(partial_of(out), out)


def _cpu_s() -> float:
    """Return the processor time of this process and of the children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
