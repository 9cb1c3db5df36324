"""Alarms in words over the stream of a run's metrics: what was seen, since when, what it means, where to look.

Everything is a function of the stream, so a resumed run, which reads its own ``metrics.jsonl`` first, alarms as one
that was never stopped.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, Final, Literal, Self, TypeAlias

from reasonrl.config import AlarmAction, HealthSettings

Kind: TypeAlias = Literal[
    "no_useful_groups",
    "entropy_collapse",
    "entropy_explosion",
    "truncation",
    "repetition",
    "not_finite",
    "gradient_spike",
    "heldout_fall",
    "reward_failures",
]
"""Named as the setting of :class:`~reasonrl.config.HealthSettings` that says what the alarm does."""

AT_ONCE: Final = ("not_finite", "gradient_spike", "heldout_fall")
"""Kinds that need no patience."""

RECENT_NORMS, FEWEST_NORMS = 20, 5
"""Most and fewest gradient norms that a new one is compared with."""

MEANINGS: Final[Mapping[Kind, str]] = {
    "no_useful_groups": "Usually the problems are all too hard or all solved, or the reward gives every completion the "
    "same: nothing is learnt. Change the task's difficulty, or sample more completions a problem.",
    "entropy_collapse": "Usually the policy gives every problem one answer and explores no more: where the reward is "
    "high the task is learnt, otherwise lower the learning rate, or raise algorithm.clip_high.",
    "entropy_explosion": "Usually the policy is falling apart into noise. Lower the learning rate, or take "
    "entropy_coefficient down.",
    "truncation": "Usually rollout.max_new_tokens is too small, or the model does not end its answers: startup.md "
    "lists the tokens that end one.",
    "repetition": "Usually the policy is stuck in loops. Lower the learning rate, and look whether the reward pays for "
    "length.",
    "not_finite": "Usually the learning rate is too high, or a reward or a product overflows. Its update was left out.",
    "gradient_spike": "Usually one strange batch, or the first sign of divergence. Look for extreme scores, and lower "
    "learner.max_grad_norm or the learning rate when it happens again.",
    "heldout_fall": "Usually the reward is being gamed, or the training problems are learnt by heart.",
    "reward_failures": "Those samples have no score and teach nothing, or the value that is set for timeouts. The "
    "rollouts say why of each: mend the reward, or give it more time (timeout_s).",
}
"""What each alarm usually means, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """A run in trouble, once an episode."""

    kind: Kind
    message: str
    """What was seen, since when, what it usually means, and which file to open."""
    action: AlarmAction
    """What the run's settings want done about it; never ``off``."""
    since: int
    """First step of the trouble."""


@dataclass(slots=True)
class _Episode:
    """One condition from the step it begins to the step it ends."""

    patience: int
    """Steps in a row that begin it, and steps in a row without it that end it."""
    since: int = 0
    ill: int = 0
    well: int = 0
    sounded: bool = False

    def take(self, step: int, is_ill: bool) -> bool:
        """Take in a step; say whether the alarm is to be given now."""
        if is_ill and not self.ill:
            self.since = step
        self.ill, self.well = (self.ill + 1, 0) if is_ill else (0, self.well + 1)
        if self.well >= self.patience:
            self.sounded = False
        if self.sounded or self.ill < self.patience:
            return False
        self.sounded = True
        return True


class Watch:
    """Watches the metrics of a run.

    Args:
        settings: thresholds and actions.
        rollouts_every: steps between rollout files, so that an alarm names one that is there.
    """

    def __init__(self, settings: HealthSettings, *, rollouts_every: int = 1) -> None:
        """Know nothing yet."""
        self._settings = settings
        self._rollouts_every = rollouts_every
        self._episodes: dict[tuple[Kind, str], _Episode] = {}
        self._first_entropies: list[float] = []
        self._norms: deque[float] = deque(maxlen=RECENT_NORMS)
        self._rewards: dict[int, float] = {}
        self._best: dict[str, tuple[int, float]] = {}

    @classmethod
    def replay(cls, settings: HealthSettings, records: Iterable[Mapping[str, Any]], *, rollouts_every: int = 1) -> Self:
        """Return a watch that has seen the lines of a ``metrics.jsonl``. Any: JSON values."""
        watch = cls(settings, rollouts_every=rollouts_every)
        for record in records:
            metrics = {name: float(value) for name, value in record.items() if "/" in name}
            heldout = {name: value for name, value in metrics.items() if name.startswith("heldout/")}
            for name, value in heldout.items():
                watch.heldout(record["step"], name.removeprefix("heldout/"), value)
            if not heldout:
                dropped = {"a number": math.nan} if record.get("dropped_non_finite") else {}
                watch.after_step(record["step"], metrics | dropped)
        return watch

    def after_step(self, step: int, metrics: Mapping[str, float]) -> list[Alarm]:
        """Take in the metrics of a step; return the alarms that it sets off."""
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        broken = sorted(metrics.keys() - finite.keys())
        alarms = [
            self._alarm(step, "not_finite", bool(broken), f"{', '.join(broken)} not finite"),
            *(self._alarm(step, *reading) for reading in self._readings(finite)),
            *(self._alarm(step, "reward_failures", *reading) for reading in self._failure_readings(finite)),
        ]
        self._remember(step, finite)
        return [alarm for alarm in alarms if alarm]

    def heldout(self, step: int, suite: str, value: float) -> list[Alarm]:
        """Take in a held-out figure; it alarms when it fell although the training reward rose."""
        best_step, best = self._best.setdefault(suite, (step, value))
        then, now = self._reward_level(best_step), self._reward_level(step)
        fell = value < best - self._settings.heldout_margin and now > then
        if value > best:
            self._best[suite] = (step, value)
        seen = (
            f"held-out {suite} fell to {value:.1%} from {best:.1%} after step {best_step}, while the training reward "
            f"rose from {then:.3f} to {now:.3f}"
        )
        alarm = self._alarm(step, "heldout_fall", fell, seen, suite, since=best_step + 1)
        return [alarm] if alarm else []

    def _readings(self, metrics: Mapping[str, float]) -> Iterator[tuple[Kind, bool, str]]:
        """Yield, of what was measured: the kind of trouble, whether it is there, and what was seen."""
        limits = self._settings
        if (useful := metrics.get("groups/useful")) is not None:
            seen = f"useful groups {useful:.1%} (healthy: at least {limits.least_useful_groups:.1%})"
            yield "no_useful_groups", useful < limits.least_useful_groups, seen
        if (cut := metrics.get("completion/truncated")) is not None:
            seen = f"{cut:.1%} of completions truncated (healthy: at most {limits.most_truncated:.1%})"
            yield "truncation", cut > limits.most_truncated, seen
        if (looping := metrics.get("completion/repetition")) is not None:
            seen = f"{looping:.1%} of completions end in a loop (healthy: at most {limits.most_repetition:.1%})"
            yield "repetition", looping > limits.most_repetition, seen
        if (entropy := metrics.get("policy/entropy")) is not None:
            yield from self._entropy_readings(entropy)
        if (norm := metrics.get("policy/grad_norm")) is not None and len(self._norms) >= FEWEST_NORMS:
            usual = median(self._norms)
            yield (
                "gradient_spike",
                0 < usual * limits.spike_factor < norm,
                f"gradient norm {norm:.3g}, usual {usual:.3g}",
            )

    def _failure_readings(self, metrics: Mapping[str, float]) -> Iterator[tuple[bool, str, str]]:
        """Yield, of each reward: whether it fails too often, what was seen, and its name."""
        most = self._settings.most_reward_failures
        for name, rate in metrics.items():
            if name.startswith("scoring/") and name.endswith("/failure_rate"):
                reward = name.removeprefix("scoring/").removesuffix("/failure_rate")
                counts = {outcome: metrics.get(f"outcome/{reward}/{outcome}", 0.0) for outcome in ("error", "timeout")}
                seen = ", ".join(f"{count:.0f} x {outcome}" for outcome, count in counts.items() if count)
                yield rate > most, f"reward {reward!r} failed on {rate:.1%} of samples ({seen})", reward

    def _entropy_readings(self, entropy: float) -> Iterator[tuple[Kind, bool, str]]:
        """Compare the entropy with its floor, and with that of the run's first steps."""
        least, rise = self._settings.least_entropy, self._settings.most_entropy_rise
        seen = f"entropy {entropy:.4f} nats a token (healthy: at least {least:g})"
        yield "entropy_collapse", entropy < least, seen
        if len(self._first_entropies) == self._settings.patience:
            first = median(self._first_entropies)
            yield (
                "entropy_explosion",
                entropy > first + rise,
                f"entropy {entropy:.2f} nats a token, {first:.2f} at first",
            )

    def _remember(self, step: int, metrics: Mapping[str, float]) -> None:
        """Keep what later steps are compared with."""
        if "policy/entropy" in metrics and len(self._first_entropies) < self._settings.patience:
            self._first_entropies.append(metrics["policy/entropy"])
        if "policy/grad_norm" in metrics:
            self._norms.append(metrics["policy/grad_norm"])
        if "reward/mean" in metrics:
            self._rewards[step] = metrics["reward/mean"]

    def _reward_level(self, step: int) -> float:
        """Return the mean training reward of the steps up to this one; of the first steps for an early one."""
        until = sum(at <= step for at in self._rewards)
        window = list(self._rewards.values())[: max(until, self._settings.patience)][-self._settings.patience :]
        return fmean(window) if window else math.nan

    def _alarm(
        self, step: int, kind: Kind, is_ill: bool, seen: str, of: str = "", *, since: int | None = None
    ) -> Alarm | None:
        """Take a reading into its episode; return the alarm that begins with it, if one does and is wanted.

        Suites and rewards have episodes of their own: ``of`` is their name.
        """
        new = _Episode(1 if kind in AT_ONCE else self._settings.patience)
        episode = self._episodes.setdefault((kind, of), new)
        action: AlarmAction = getattr(self._settings, kind)
        if not episode.take(step, is_ill) or action == "off":
            return None
        first = since or episode.since
        samples = f" and evals/step_{step:06d}/{of}/samples.jsonl" if kind == "heldout_fall" else ""
        where = self._rollouts_file(step) + samples
        message = f"{seen}, since step {first}. {MEANINGS[kind]} Open {where}."
        return Alarm(kind=kind, message=message, action=action, since=first)

    def _rollouts_file(self, step: int) -> str:
        """Name the latest file of rollouts, or the metrics where there is none yet."""
        written = step - step % self._rollouts_every
        return f"rollouts/step_{written:06d}.jsonl" if written else "metrics.jsonl"
