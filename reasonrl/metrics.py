"""What a step's log line holds, computed from the data that flowed through it.

Names with a slash belong to a phase: ``seconds/*``, ``reward/*``, ``weight/*``, ``variance/*``, ``penalty/*``,
``outcome/*``, ``scoring/*``, ``groups/*``, ``completion/*``, ``policy/*``, ``ratio/*``, ``mismatch/*``,
``staleness/*``. Rewards, lengths and shares are those of all groups that were sampled, the discarded ones included:
what dynamic sampling keeps is no picture of the policy.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import covariance, fmean, pstdev

from reasonrl.types import Batch, Completion, Score, Verdict, Verdicts, teaches

SHORTEST_LOOPING, LONGEST_REPEATED = 16, 64
"""Fewest tokens of a completion that can count as repetitive, and most tokens of what it repeats."""

ROUNDING = 1e-9
"""Differences of totals, as a share of the largest part, up to which they may come from rounding."""


def step_metrics(batch: Batch, measured: Mapping[str, float], *, learning_s: float) -> dict[str, float]:
    """Return every metric of a step; ``measured`` are the learner's."""
    sampled = list(batch.sampled())
    verdicts = [verdicts for _, verdicts in sampled]
    completions = [completion for group, _ in sampled for completion in group.completions]
    return {
        **_reward_metrics(verdicts),
        **_group_metrics(verdicts, len(batch.discarded)),
        **_completion_metrics(completions),
        **_staleness_metrics(batch, completions),
        **{name: value for name, value in measured.items() if name != "learner/tokens"},
        **_speed_metrics(completions, measured, {**batch.seconds, "learning": learning_s}),
    }


def _reward_metrics(groups: Sequence[Verdicts]) -> dict[str, float]:
    """Mean and spread of the total, what each reward was and did, and the mean of each penalty."""
    verdicts = [verdict for group in groups for verdict in group]
    totals = [v.total.value for v in verdicts if v.total.value is not None]
    metrics = {"reward/mean": fmean(totals), "reward/std": pstdev(totals)} if totals else {}
    metrics |= {f"weight/{name}": weight for name, weight in verdicts[0].weights.items()} if verdicts else {}
    for name in verdicts[0].rewards if verdicts else ():
        metrics |= _score_metrics(name, [verdict.rewards[name] for verdict in verdicts])
    for name in sorted({name for verdict in verdicts for name in verdict.penalties}):
        metrics[f"penalty/{name}"] = fmean(v.penalties[name] for v in verdicts if name in v.penalties)
    return metrics | {f"variance/{name}": share for name, share in variance_shares(groups).items()}


def _score_metrics(name: str, scores: Sequence[Score]) -> dict[str, float]:
    """Means of a reward and its parts, how often it gave no score, and how long it took and waited."""
    values = [score.value for score in scores if score.value is not None]
    parts = {part: _mean(s.parts[part] for s in scores if part in s.parts) for score in scores for part in score.parts}
    outcomes = Counter(score.outcome for score in scores if score.outcome != "scored")
    failed = outcomes["error"] + outcomes["timeout"]
    return {
        **({f"reward/{name}": fmean(values)} if values else {}),
        **{f"reward/{name}/{part}": mean for part, mean in parts.items()},
        **{f"outcome/{name}/{outcome}": float(count) for outcome, count in outcomes.items() if count},
        f"scoring/{name}/failure_rate": failed / len(scores),
        **_percentiles(f"scoring/{name}/run", [score.run_s for score in scores]),
        **_percentiles(f"scoring/{name}/queue", [score.queue_s for score in scores]),
    }


def _percentiles(name: str, seconds: Sequence[float]) -> dict[str, float]:
    """Median, 95th percentile (the nearest of the values) and maximum."""
    ordered = sorted(seconds)
    return {
        f"{name}_p50_s": ordered[len(ordered) // 2],
        f"{name}_p95_s": ordered[min(math.ceil(0.95 * len(ordered)), len(ordered)) - 1],
        f"{name}_max_s": ordered[-1],
    }


def variance_shares(groups: Sequence[Verdicts]) -> dict[str, float]:
    """Return each reward's share of the variance of the total within groups: the mean of cov(part, total) / var(total).

    A part is what a reward adds to the total, its weight and gate included. The shares of a step sum to 1; one that
    works against the others is negative. Groups whose totals differ by no more than rounding say nothing and are left
    out.
    """
    scored = [[verdict for verdict in group if verdict.total.value is not None] for group in groups]
    useful = [group for group in scored if _varies(group)]
    return {
        name: fmean(
            _covariance([_part(verdict, name) for verdict in group], group) / _variance(group) for group in useful
        )
        for name in (useful[0][0].rewards if useful else ())
    }


def _part(verdict: Verdict, name: str) -> float:
    """Return what a reward adds to the total."""
    return verdict.weight(name) * (verdict.counted(name) or 0.0)


def _varies(group: Sequence[Verdict]) -> bool:
    """Say whether the totals of a group differ by more than the rounding of their parts."""
    if not teaches(group):
        return False
    totals = [verdict.total.value or 0.0 for verdict in group]
    largest = max(abs(_part(verdict, name)) for verdict in group for name in verdict.rewards)
    return max(totals) - min(totals) > ROUNDING * largest and 0 < _variance(group) < math.inf


def _variance(group: Sequence[Verdict]) -> float:
    """Return the variance of a group's totals."""
    return _covariance([verdict.total.value or 0.0 for verdict in group], group)


def _covariance(parts: Sequence[float], group: Sequence[Verdict]) -> float:
    """Return the covariance of something with a group's totals."""
    return covariance(parts, [verdict.total.value or 0.0 for verdict in group])


def _group_metrics(verdicts: Sequence[Verdicts], num_discarded: int) -> dict[str, float]:
    """The share of groups whose members differ in reward: the others teach nothing."""
    return {
        "groups/count": float(len(verdicts)),
        "groups/discarded": float(num_discarded),
        "groups/useful": fmean(map(teaches, verdicts)),
    }


def _completion_metrics(completions: Sequence[Completion]) -> dict[str, float]:
    """Lengths in tokens, truncation, loops, and an unbiased estimate of the policy's entropy in nats a token."""
    lengths = [len(completion.token_ids) for completion in completions]
    surprisal = _mean(-logprob for completion in completions for logprob in completion.logprobs)
    return {
        "completion/length_mean": fmean(lengths),
        "completion/length_max": float(max(lengths)),
        "completion/truncated": fmean(c.finish_reason == "length" for c in completions),
        "completion/repetition": fmean(is_repetitive(completion.token_ids) for completion in completions),
        "policy/entropy": surprisal,
    }


def _staleness_metrics(batch: Batch, completions: Sequence[Completion]) -> dict[str, float]:
    """Weight updates between sampling and learning, and the groups left out for them, where sampling runs ahead."""
    if batch.learner_version is None:
        return {}
    lags = [batch.learner_version - completion.policy_version for completion in completions]
    return {
        "groups/too_old": float(len(batch.too_old)),
        "staleness/mean": fmean(lags),
        "staleness/max": float(max(lags)),
    }


def is_repetitive(token_ids: tuple[int, ...]) -> bool:
    """Say whether a completion ends in a loop: its second half is one n-gram of tokens, three times or more.

    The last token is passed over, because an end-of-sequence token may have ended the loop.
    """
    tokens = token_ids[:-1]
    half = len(tokens) // 2
    longest = min(half // 3, LONGEST_REPEATED) if len(tokens) >= SHORTEST_LOOPING else 0
    return any(tokens[-1] == tokens[-1 - n] and tokens[-half:] == tokens[-half - n : -n] for n in range(1, longest + 1))


def _speed_metrics(
    completions: Sequence[Completion], measured: Mapping[str, float], seconds: Mapping[str, float]
) -> dict[str, float]:
    """Seconds of each phase, and completion tokens a second where tokens are made or learnt from.

    Where sampling and scoring run ahead, a step takes no longer than the loop waits and learns.
    """
    sampled = sum(len(completion.token_ids) for completion in completions)
    ahead = "waiting" in seconds
    return {
        **{f"seconds/{phase}": value for phase, value in seconds.items()},
        "seconds/step": seconds["waiting"] + seconds["learning"] if ahead else sum(seconds.values()),
        "tokens_per_second/sampling": sampled / max(seconds["sampling"], 1e-9),
        "tokens_per_second/learning": measured.get("learner/tokens", 0.0) / max(seconds["learning"], 1e-9),
    }


def with_waiting(metrics: Mapping[str, float], waited_s: float) -> dict[str, float]:
    """Return a step's metrics with so many seconds counted as waiting that were counted as learning."""
    learning = max(metrics["seconds/learning"] - waited_s, 0.0)
    tokens = metrics["tokens_per_second/learning"] * metrics["seconds/learning"]
    return {
        **metrics,
        "seconds/learning": learning,
        "seconds/waiting": metrics["seconds/waiting"] + waited_s,
        "tokens_per_second/learning": tokens / max(learning, 1e-9),
    }


def _mean(values: Iterable[float]) -> float:
    """Return the mean, or 0 of nothing."""
    listed = list(values)
    return fmean(listed) if listed else 0.0
