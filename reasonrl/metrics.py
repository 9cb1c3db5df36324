"""What a step's log line holds, computed from the data that flowed through it.

Names with a slash belong to a phase: ``seconds/*``, ``reward/*``, ``outcome/*``, ``groups/*``,
``completion/*``, ``policy/*``, ``ratio/*``, ``mismatch/*``.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, pstdev

from reasonrl.types import Completion, Group, Verdict


def step_metrics(
    groups: Sequence[Group],
    verdicts: Sequence[Sequence[Verdict]],
    measured: Mapping[str, float],
    seconds: Mapping[str, float],
) -> dict[str, float]:
    """Return every metric of a step; ``measured`` are the learner's, ``seconds`` those of each phase."""
    completions = [completion for group in groups for completion in group.completions]
    return {
        **_reward_metrics(verdicts),
        **_group_metrics(verdicts),
        **_completion_metrics(completions),
        **{name: value for name, value in measured.items() if name != "learner/tokens"},
        **_speed_metrics(completions, measured, seconds),
    }


def _reward_metrics(verdicts: Sequence[Sequence[Verdict]]) -> dict[str, float]:
    """Mean and spread of the total, the mean of each reward, and how often one gave no score."""
    flat = [verdict for group in verdicts for verdict in group]
    totals = [v.total.value for v in flat if v.total.value is not None]
    metrics = {"reward/mean": fmean(totals), "reward/std": pstdev(totals)} if totals else {}
    for name in flat[0].rewards if flat else ():
        scores = [verdict.rewards[name] for verdict in flat]
        values = [score.value for score in scores if score.value is not None]
        metrics |= {f"reward/{name}": fmean(values)} if values else {}
        outcomes = Counter(score.outcome for score in scores if score.outcome != "scored")
        metrics |= {f"outcome/{name}/{outcome}": float(count) for outcome, count in outcomes.items()}
    return metrics


def _group_metrics(verdicts: Sequence[Sequence[Verdict]]) -> dict[str, float]:
    """The share of groups whose members differ in reward: the others teach nothing."""
    spreads = [len({v.total.value for v in group if v.total.value is not None}) for group in verdicts]
    return {
        "groups/count": float(len(spreads)),
        "groups/useful": fmean(spread > 1 for spread in spreads),
    }


def _completion_metrics(completions: Sequence[Completion]) -> dict[str, float]:
    """Lengths in tokens, truncation, and an unbiased estimate of the policy's entropy in nats a token."""
    lengths = [len(completion.token_ids) for completion in completions]
    surprisal = _mean(-logprob for completion in completions for logprob in completion.logprobs)
    return {
        "completion/length_mean": fmean(lengths),
        "completion/length_max": float(max(lengths)),
        "completion/truncated": fmean(c.finish_reason == "length" for c in completions),
        "policy/entropy": surprisal,
    }


def _speed_metrics(
    completions: Sequence[Completion], measured: Mapping[str, float], seconds: Mapping[str, float]
) -> dict[str, float]:
    """Seconds of each phase, and completion tokens a second where tokens are made or learnt from."""
    sampled = sum(len(completion.token_ids) for completion in completions)
    return {
        **{f"seconds/{phase}": value for phase, value in seconds.items()},
        "seconds/step": sum(seconds.values()),
        "tokens_per_second/sampling": sampled / max(seconds["sampling"], 1e-9),
        "tokens_per_second/learning": measured.get("learner/tokens", 0.0) / max(seconds["learning"], 1e-9),
    }


def _mean(values: Iterable[float]) -> float:
    """Return the mean, or 0 of nothing."""
    listed = list(values)
    return fmean(listed) if listed else 0.0
