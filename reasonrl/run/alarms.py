"""Alarms in words over the stream of a run's metrics: what was seen, since when, what it means, where to look.

Everything is a function of the stream, so a resumed run, which reads its own ``metrics.jsonl`` first, alarms as one
that was never stopped.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any, Final, Self

from reasonrl.config.settings import AlarmAction, AlarmSettings
from reasonrl.errors import RunError
from reasonrl.run.alarm_kinds import ALL_ALONG, AT_ONCE, MEANINGS, Kind
from reasonrl.run.alarm_readings import Reading, group_readings, learning_reading, reward_readings, unanswered
from reasonrl.run.disagreements import FILE as DISAGREEMENTS
from reasonrl.run.events import AlarmRaised, EvaluationFinished, Event, RunStarted, StepFinished
from reasonrl.run.overoptimization import Fall, FallDetector, Point, Window
from reasonrl.run.reward_beside_metric import suites_of
from reasonrl.run.reward_gap import GapDetector
from reasonrl.run.reward_gap import Point as GapPoint

MAX_RECENT_NORMS, MIN_NORMS = 20, 5
"""Most and fewest gradient norms that a new one is compared with."""

GAP_PATIENCE: Final = 2
"""Evaluations in a row with a gap between reward and metric: a form that is learned before what it helps to is none."""

MOVED_ERRORS: Final = 1.96
"""Standard errors of a difference beyond which it is more than noise (95 %)."""


class RollBackRequestedError(Exception):
    """An alarm whose action is ``rollback``: the run is to go on from an earlier checkpoint."""

    def __init__(self, alarm: AlarmRaised) -> None:
        super().__init__(alarm.message)
        self.alarm = alarm


@dataclass(slots=True)
class Episode:
    """One condition from the step it begins to the step it ends."""

    patience: int
    """Steps in a row that begin it, and steps in a row without it that end it."""
    since: int = 0
    num_bad: int = 0
    num_good: int = 0
    raised: bool = False

    def observe(self, step: int, is_bad: bool) -> bool:
        """Take in a step; say whether the alarm is to be raised now."""
        if is_bad and not self.num_bad:
            self.since = step
        self.num_bad, self.num_good = (self.num_bad + 1, 0) if is_bad else (0, self.num_good + 1)
        if self.num_good >= self.patience:
            self.raised = False
        if self.raised or self.num_bad < self.patience:
            return False
        self.raised = True
        return True


class AlarmMonitor:
    """Observes the metrics of a run and raises alarms, as a function of the metrics alone.

    Args:
        settings: thresholds and actions.
        notify: tells all observers of an alarm.
        rollouts_every: steps between rollout files, so that an alarm names one that exists.
        checkpoints: returns the steps of the checkpoints on disk, to name one; it decides no alarm.
        num_steps: length of the run, where it is known: a shorter one than the patience is told at its end.
        evaluate_every: steps between its evaluations.
    """

    def __init__(
        self,
        settings: AlarmSettings,
        notify: Callable[[AlarmRaised], None] = lambda _: None,
        *,
        rollouts_every: int = 1,
        checkpoints: Callable[[], Iterable[int]] = tuple,
        num_steps: int | None = None,
        evaluate_every: int = 1,
    ) -> None:
        self._settings = settings
        self._notify = notify
        self._rollouts_every = rollouts_every
        self._checkpoints = checkpoints
        self._num_steps = num_steps
        self._num_evaluations = None if num_steps is None else -(-num_steps // evaluate_every)
        self._path = Path()
        self._episodes: dict[tuple[Kind, str], Episode] = {}
        self._first_entropies: list[float] = []
        self._norms: deque[float] = deque(maxlen=MAX_RECENT_NORMS)
        self._rewards: dict[int, float] = {}
        self._best: dict[str, tuple[int, float]] = {}
        self._first: dict[str, tuple[int, float, float]] = {}
        self._num_updates = 0
        self._gold = FallDetector(max_false_alarms=settings.max_false_alarms)
        self._heldout_gold: list[Point] = []
        self._gaps: dict[str, GapDetector] = {}
        self._kl: float | None = None
        self._unanswered: Mapping[str, str] = {}

    def __call__(self, event: Event) -> None:
        """Raise the alarms that an event sets off, then do what the gravest asks for.

        Raises:
            RunError: it stops the run.
            RollBackRequestedError: it sends the run back.
        """
        match event:
            case RunStarted():
                self._path = event.path
            case StepFinished():
                self._unanswered = unanswered(event.record)
                self._apply_actions(self.after_step(event.step, event.record.metrics))
            case EvaluationFinished():
                self._apply_actions(self.after_evaluation(event.step, event.metrics))

    def _apply_actions(self, alarms: Sequence[AlarmRaised]) -> None:
        """Tell of alarms, and do what the gravest asks for."""
        apply_actions(alarms, self._notify, f"reasonrl train --resume {self._path}")

    def replay(self, records: Iterable[Mapping[str, Any]]) -> Self:
        """Take in the lines of a ``metrics.jsonl`` and raise nothing; return the monitor. Any: JSON values."""
        for record in records:
            metrics = {name: float(value) for name, value in record.items() if "/" in name}
            if suites_of(metrics):
                self.after_evaluation(record["step"], metrics)
            else:
                dropped = {"a number": math.nan} if record.get("dropped_non_finite") else {}
                self.after_step(record["step"], metrics | dropped)
        return self

    def after_step(self, step: int, metrics: Mapping[str, float]) -> list[AlarmRaised]:
        """Take in the metrics of a step; return the alarms that it sets off."""
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        broken = sorted(metrics.keys() - finite.keys())
        alarms = [
            self._alarm(step, "not_finite", bool(broken), f"{', '.join(broken)} not finite"),
            *(self._alarm(step, *reading) for reading in self._readings(finite)),
            self._gold_alarm(step, finite),
        ]
        self._remember(step, finite)
        return [alarm for alarm in alarms if alarm]

    def after_evaluation(self, step: int, metrics: Mapping[str, float]) -> list[AlarmRaised]:
        """Take in the metrics of held-out suites; return the alarms that they set off."""
        alarms = []
        for suite in suites_of(metrics):
            alarms += self.heldout(step, suite, metrics[f"heldout/{suite}"], metrics.get(f"heldout_stderr/{suite}"))
            if (point := GapPoint.of(step, suite, metrics)) and (gap := self._gap_alarm(suite, point)):
                alarms.append(gap)
        return alarms

    def _gap_alarm(self, suite: str, point: GapPoint) -> AlarmRaised | None:
        """Compare what the reward says of a suite's completions with what its metric says, now and before."""
        limits = self._settings
        new = GapDetector(max_false_alarms=limits.max_false_alarms, margin=limits.max_reward_gap)
        gap = self._gaps.setdefault(suite, new).observe(point)
        seen = gap.describe(suite) if gap else ""
        return self._alarm(point.step, "reward_metric_gap", gap is not None, seen, suite)

    def heldout(self, step: int, suite: str, value: float, stderr: float | None = None) -> list[AlarmRaised]:
        """Take in a held-out figure, with its standard error if that is known.

        It alarms when it fell although the training reward rose.
        """
        best_step, best = self._best.setdefault(suite, (step, value))
        then, now = self._reward_level(best_step), self._reward_level(step)
        fell = value < best - self._settings.heldout_margin and now > then
        if value > best:
            self._best[suite] = (step, value)
        seen = (
            f"held-out {suite} fell to {value:.1%} from {best:.1%} after step {best_step}, while the training reward "
            f"rose from {then:.3f} to {now:.3f}"
        )
        alarms = [
            self._alarm(step, "heldout_fall", fell, seen, suite, since=best_step + 1),
            self._flat_alarm(step, suite, value, stderr),
            self._heldout_gold_alarm(step, value, stderr) if suite == self._settings.gold else None,
        ]
        return [alarm for alarm in alarms if alarm]

    def _flat_alarm(self, step: int, suite: str, value: float, stderr: float | None) -> AlarmRaised | None:
        """Compare a held-out figure with that before the first step, in standard errors of their difference."""
        if stderr is None:
            return None
        first_step, first, first_stderr = self._first.setdefault(suite, (step, value, stderr))
        if step == first_step:
            return None
        noise = MOVED_ERRORS * math.hypot(stderr, first_stderr)
        seen = (
            f"held-out {suite} has not moved: {value:.1%}, {first:.1%} after step {first_step} "
            f"(noise of the difference: {noise:.1%})"
        )
        return self._alarm(step, "heldout_flat", abs(value - first) <= noise, seen, suite, since=first_step + 1)

    def _gold_alarm(self, step: int, metrics: Mapping[str, float]) -> AlarmRaised | None:
        """Compare the gold reward of a step with the training reward."""
        label = self._settings.gold
        gold, proxy = metrics.get(f"reward/{label}"), metrics.get("reward/mean")
        if label is None or gold is None or proxy is None:
            return None
        point = Point(
            step=step,
            gold=gold,
            proxy=proxy,
            gold_stderr=metrics.get(f"reward_stderr/{label}"),
            proxy_stderr=metrics.get("reward_stderr/mean"),
            num_groups=int(metrics.get("groups/count", 0)) or None,
            kl=metrics.get("policy/kl_sequence"),
        )
        return self._fall_alarm(step, self._gold.observe(point), f"gold reward {label!r}")

    def _heldout_gold_alarm(self, step: int, value: float, stderr: float | None) -> AlarmRaised | None:
        """Compare a held-out gold figure with the training reward of the steps before each measurement."""
        self._heldout_gold.append(Point(step=step, gold=value, proxy=0.0, gold_stderr=stderr, kl=self._kl))
        detector = FallDetector(max_false_alarms=self._settings.max_false_alarms, min_window=1)
        # Again from the first figure, before which no step was taken: what stands for its reward is known later.
        falls = [detector.observe(replace(point, proxy=self._reward_level(point.step))) for point in self._heldout_gold]
        return self._fall_alarm(step, falls[-1], f"gold suite {self._settings.gold!r}")

    def _fall_alarm(self, step: int, fall: Fall | None, gold: str) -> AlarmRaised | None:
        if fall is None:
            return self._alarm(step, "over_optimization", False, "")
        peak, now, errors = fall.peak, fall.now, fall.standard_errors
        far = f", by {errors:.1f} standard errors" if math.isfinite(errors) else ""
        seen = (
            f"{gold} fell to {now.gold:.3f} ({_steps(now)}) from {peak.gold:.3f} ({_steps(peak)}){far}, while the "
            f"training reward rose from {peak.proxy:.3f} to {now.proxy:.3f} "
            f"({_roots(peak, now)}{self._nearest_checkpoint(peak.middle)})"
        )
        return self._alarm(step, "over_optimization", True, seen, since=peak.middle + 1)

    def _nearest_checkpoint(self, step: int) -> str:
        nearest = min(self._checkpoints(), key=lambda at: (abs(at - step), at), default=None)
        return "no checkpoint yet" if nearest is None else f"nearest checkpoint: step {nearest}"

    def _readings(self, metrics: Mapping[str, float]) -> Iterator[Reading]:
        """Yield, of what was measured: the kind of trouble, whether it is there, and what was seen."""
        limits = self._settings
        yield from group_readings(metrics, limits, next(reversed(self._rewards.values()), None))
        yield from reward_readings(metrics, limits, self._unanswered)
        if (learning := learning_reading(metrics, limits, self._num_updates)) is not None:
            yield learning
        if (cut := metrics.get("completion/truncated")) is not None:
            seen = f"{cut:.1%} of completions truncated (healthy: at most {limits.max_truncated:.1%})"
            yield Reading("truncation", cut > limits.max_truncated, seen)
        if (looping := metrics.get("completion/repetition")) is not None:
            seen = f"{looping:.1%} of completions end in a loop (healthy: at most {limits.max_repetition:.1%})"
            yield Reading("repetition", looping > limits.max_repetition, seen)
        if (kl := metrics.get("policy/kl_sequence")) is not None and limits.max_kl is not None:
            seen = f"divergence from the initial policy {kl:.2f} nats a completion (alarms.max_kl: {limits.max_kl:g})"
            yield Reading("kl_budget", kl > limits.max_kl, seen)
        if (entropy := metrics.get("policy/entropy")) is not None:
            yield from self._entropy_readings(entropy)
        if (norm := metrics.get("policy/grad_norm")) is not None and len(self._norms) >= MIN_NORMS:
            usual = median(self._norms)
            seen = f"gradient norm {norm:.3g}, usual {usual:.3g}"
            yield Reading("gradient_spike", 0 < usual * limits.spike_factor < norm, seen)

    def _entropy_readings(self, entropy: float) -> Iterator[Reading]:
        """Compare the entropy with its floor, and with that of the run's first steps."""
        least, rise = self._settings.min_entropy, self._settings.max_entropy_rise
        seen = f"entropy {entropy:.4f} nats a token (healthy: at least {least:g})"
        yield Reading("entropy_collapse", entropy < least, seen)
        if len(self._first_entropies) == self._settings.patience:
            first = median(self._first_entropies)
            seen = f"entropy {entropy:.2f} nats a token, {first:.2f} at first"
            yield Reading("entropy_explosion", entropy > first + rise, seen)

    def _remember(self, step: int, metrics: Mapping[str, float]) -> None:
        if "policy/entropy" in metrics and len(self._first_entropies) < self._settings.patience:
            self._first_entropies.append(metrics["policy/entropy"])
        if "policy/grad_norm" in metrics:
            self._norms.append(metrics["policy/grad_norm"])
            self._num_updates += 1
        if "reward/mean" in metrics:
            self._rewards[step] = metrics["reward/mean"]
        self._kl = metrics.get("policy/kl_sequence", self._kl)

    def _reward_level(self, step: int) -> float:
        """Return the mean training reward of the steps up to this one; of the first steps for an early one."""
        until = sum(at <= step for at in self._rewards)
        window = list(self._rewards.values())[: max(until, self._settings.patience)][-self._settings.patience :]
        return fmean(window) if window else math.nan

    def _alarm(
        self, step: int, kind: Kind, is_bad: bool, seen: str, of: str = "", *, since: int | None = None
    ) -> AlarmRaised | None:
        """Take a reading into its episode; return the alarm that begins with it, if one does and is wanted.

        Suites and rewards have episodes of their own: ``of`` is their name.
        """
        episode = self._episodes.setdefault((kind, of), Episode(self._patience(kind)))
        action: AlarmAction = getattr(self._settings, kind)
        if not episode.observe(step, is_bad) or action == "off":
            return None
        first = since or episode.since
        where = self._files(step, kind, of)
        message = f"{seen}, since step {first}. {MEANINGS[kind]} Open {where}."
        return AlarmRaised(step=step, kind=kind, message=message, action=action, since=first)

    def _patience(self, kind: Kind) -> int:
        """Return the steps, or evaluations, in a row that a condition must hold."""
        if kind in AT_ONCE:
            return 1
        patience, evaluations = self._settings.patience, self._settings.heldout_patience
        if kind == "heldout_flat":
            is_long = self._num_steps is not None and self._num_steps >= patience
            return min(evaluations, self._num_evaluations or evaluations) if is_long else evaluations
        if kind == "reward_metric_gap":
            return min(GAP_PATIENCE, self._num_evaluations or GAP_PATIENCE)
        return min(patience, self._num_steps or patience) if kind in ALL_ALONG else patience

    def _files(self, step: int, kind: Kind, of: str) -> str:
        """Name the files that show what an alarm is about."""
        evaluated = f"evals/step_{step:06d}/{of}"
        if kind == "reward_metric_gap":
            return f"{evaluated}/{DISAGREEMENTS}"
        samples = f" and {evaluated}/samples.jsonl" if kind.startswith("heldout") else ""
        return self._rollouts_file(step) + samples

    def _rollouts_file(self, step: int) -> str:
        """Name the latest file of rollouts, or the metrics where there is none yet."""
        written = step - step % self._rollouts_every
        return f"rollouts/step_{written:06d}.jsonl" if written else "metrics.jsonl"


def apply_actions(alarms: Sequence[AlarmRaised], notify: Callable[[AlarmRaised], None], resume: str) -> None:
    """Tell of alarms; then stop the run, or send it back, where one of them asks for it.

    Args:
        alarms: those that were set off at once.
        notify: tells all observers of one.
        resume: the command that resumes the run.

    Raises:
        RunError: one stops the run.
        RollBackRequestedError: one sends the run back.
    """
    for alarm in alarms:
        notify(alarm)
    by_action = {alarm.action: alarm for alarm in reversed(alarms)}
    if "stop" in by_action:
        raise RunError(stopped_by(by_action["stop"], resume))
    if "rollback" in by_action:
        raise RollBackRequestedError(by_action["rollback"])


def _steps(window: Window) -> str:
    return f"step {window.first}" if window.first == window.last else f"mean of steps {window.first} to {window.last}"


def _roots(peak: Window, now: Window) -> str:
    """Say how far the policy was from the initial one, where that is measured."""
    if peak.kl is None or now.kl is None:
        return ""
    then, here = (math.sqrt(max(kl, 0.0)) for kl in (peak.kl, now.kl))
    return f"root of the KL divergence {then:.2f} then, {here:.2f} now; "


def stopped_by(alarm: AlarmRaised, resume: str) -> str:
    """Say which alarm stops a run, and how to go on in spite of it; ``resume`` is the command that resumes it."""
    return (
        f"alarm {alarm.kind} stopped the run after step {alarm.step}: {alarm.message} To try again from the last "
        f"checkpoint: {resume}; to go on in spite of it: {resume} alarms.{alarm.kind}=warn"
    )
