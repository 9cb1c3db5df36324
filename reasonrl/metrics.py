"""What a step's log line holds, computed from the data that flowed through it.

Names with a slash belong to a phase: ``seconds/*``, ``reward/*``, ``penalty/*``, ``outcome/*``, ``groups/*``,
``completion/*``, ``policy/*``, ``ratio/*``, ``mismatch/*``, ``staleness/*``. Rewards, lengths and shares are those of
all groups that were sampled, the discarded ones included: what dynamic sampling keeps is no picture of the policy.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, pstdev

from reasonrl.types import Batch, Completion, Verdict, Verdicts, teaches

SHORTEST_LOOPING, LONGEST_REPEATED = 16, 64
"""Fewest tokens of a completion that can count as repetitive, and most tokens of what it repeats."""


def step_metrics(batch: Batch, measured: Mapping[str, float], *, learning_s: float) -> dict[str, float]:
    """Return every metric of a step; ``measured`` are the learner's."""
    sampled = list(batch.sampled())
    verdicts = [verdicts for _, verdicts in sampled]
    completions = [completion for group, _ in sampled for completion in group.completions]
    return {
        **_reward_metrics([verdict for group in verdicts for verdict in group]),
        **_group_metrics(verdicts, len(batch.discarded)),
        **_completion_metrics(completions),
        **_staleness_metrics(batch, completions),
        **{name: value for name, value in measured.items() if name != "learner/tokens"},
        **_speed_metrics(completions, measured, {**batch.seconds, "learning": learning_s}),
    }


def _reward_metrics(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Mean and spread of the total, the mean of each reward and penalty, and how often a reward gave no score."""
    totals = [v.total.value for v in verdicts if v.total.value is not None]
    metrics = {"reward/mean": fmean(totals), "reward/std": pstdev(totals)} if totals else {}
    for name in verdicts[0].rewards if verdicts else ():
        scores = [verdict.rewards[name] for verdict in verdicts]
        values = [score.value for score in scores if score.value is not None]
        metrics |= {f"reward/{name}": fmean(values)} if values else {}
        outcomes = Counter(score.outcome for score in scores if score.outcome != "scored")
        metrics |= {f"outcome/{name}/{outcome}": float(count) for outcome, count in outcomes.items()}
    for name in sorted({name for verdict in verdicts for name in verdict.penalties}):
        metrics[f"penalty/{name}"] = fmean(v.penalties[name] for v in verdicts if name in v.penalties)
    return metrics


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
