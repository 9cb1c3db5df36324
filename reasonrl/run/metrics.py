"""What a step's log line holds, computed from the data that flowed through it.

Names with a slash belong to a phase: ``seconds/*``, ``reward/*``, ``weight/*``, ``variance/*``, ``penalty/*``,
``outcome/*``, ``scoring/*``, ``reward_stderr/*``, ``variance_pooled/*``, ``groups/*``, ``task/*``, ``curriculum/*``,
``completion/*``, ``distillation/*``, ``policy/*``, ``value/*``, ``ratio/*``, ``mismatch/*``, ``staleness/*``,
``rollout/*``. Rewards, lengths and shares are those of all groups that were sampled, the discarded ones included: what
dynamic sampling keeps is no picture of the policy.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import covariance, fmean, pstdev, stdev

from reasonrl.config.settings import RunTask
from reasonrl.run.distillation_metrics import distillation_metrics
from reasonrl.run.task_metrics import task_metrics
from reasonrl.types import RewardResult, RewardResults, Score, StepRecord, Trajectory, teaches

MIN_LOOPING_TOKENS, MAX_REPEATED_TOKENS = 16, 64
"""Fewest tokens of a completion that can count as repetitive, and most tokens of what it repeats."""

ROUNDING = 1e-9
"""Differences of totals, as a share of the largest part, up to which they may come from rounding."""


def step_metrics(record: StepRecord, *, async_steps: int = 0, tasks: Sequence[RunTask] = ()) -> dict[str, float]:
    """Return every metric of a step.

    Args:
        record: what happened in it.
        async_steps: steps that sampling runs ahead of training; where it does, staleness is worth showing.
        tasks: of the run; several have metrics of their own.
    """
    batch, measured = record.batch, record.measured
    sampled = list(batch.sampled())
    results = [results for _, results in sampled]
    trajectories = [trajectory for group, _ in sampled for trajectory in group.trajectories]
    return {
        **_reward_metrics(results),
        **_group_metrics(results, batch.num_unused("no_signal")),
        **_completion_metrics(trajectories),
        **dict(task_metrics(sampled, tasks, record.step)),
        **batch.measured,
        **distillation_metrics(sampled),
        **_divergence_metrics([result for group in results for result in group], trajectories, measured),
        **(_staleness_metrics(record, trajectories) if async_steps else {}),
        **(_token_staleness_metrics(record, trajectories) if async_steps > 1 else {}),
        **{name: value for name, value in measured.items() if name != "learner/tokens"},
        **_speed_metrics(trajectories, measured, {**batch.seconds, **record.seconds}),
    }


def _reward_metrics(groups: Sequence[RewardResults]) -> dict[str, float]:
    """Mean and spread of the total, what each reward was and did, and the mean of each penalty."""
    results = [result for group in groups for result in group]
    totals = [v.total.value for v in results if v.total.value is not None]
    metrics = {"reward/mean": fmean(totals), "reward/std": pstdev(totals)} if totals else {}
    metrics |= {f"weight/{name}": weight for result in results for name, weight in result.weights.items()}
    for name in _labels(results):
        metrics |= _score_metrics(name, [result.rewards[name] for result in results if name in result.rewards])
    for name in sorted({name for result in results for name in result.penalties}):
        metrics[f"penalty/{name}"] = fmean(v.penalties[name] for v in results if name in v.penalties)
    metrics |= {f"variance/{name}": share for name, share in variance_shares(groups).items()}
    metrics |= {f"variance_pooled/{name}": share for name, share in pooled_variance_shares(groups).items()}
    return metrics | _standard_errors(groups)


def _standard_errors(groups: Sequence[RewardResults]) -> dict[str, float]:
    """Standard errors of the total and of each reward over problems, which are what is independent in a step."""
    columns = {"mean": [[result.total.value for result in group] for group in groups]}
    for name in _labels([result for group in groups for result in group]):
        columns[name] = [[result.rewards[name].value for result in group if name in result.rewards] for group in groups]
    means = {
        name: [fmean(scored) for group in column if (scored := [value for value in group if value is not None])]
        for name, column in columns.items()
    }
    return {f"reward_stderr/{name}": stdev(of) / math.sqrt(len(of)) for name, of in means.items() if len(of) > 1}


def _labels(results: Iterable[RewardResult]) -> list[str]:
    """Return the labels of the rewards that scored anything; those of one task need not be another's."""
    return list(dict.fromkeys(name for result in results for name in result.rewards))


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
    ordered = sorted(seconds)
    return {
        f"{name}_p50_s": ordered[len(ordered) // 2],
        f"{name}_p95_s": ordered[min(math.ceil(0.95 * len(ordered)), len(ordered)) - 1],
        f"{name}_max_s": ordered[-1],
    }


def variance_shares(groups: Sequence[RewardResults]) -> dict[str, float]:
    """Return each reward's share of the variance of the total within groups: the mean of cov(part, total) / var(total).

    A part is what a reward adds to the total, its weight and gate included. The shares of a step sum to 1; one that
    works against the others is negative. Groups whose totals differ by no more than rounding say nothing and are left
    out.
    """
    useful = _useful(groups)
    return {
        name: fmean(_covariance_of(name, group) / _variance(group) for group in useful)
        for name in _labels(result for group in useful for result in group)
    }


def pooled_variance_shares(groups: Sequence[RewardResults]) -> dict[str, float]:
    """Return the same with groups weighed by their variance: the sum of cov(part, total) over the sum of var(total).

    It is the share of what is learned where rewards are centered in their group; :func:`variance_shares` where they are
    also divided by its spread. They differ where one reward alone tells members of many groups apart, but by little: a
    reward model beside a verifier that is often all right or all wrong.
    """
    useful = _useful(groups)
    whole = math.fsum(map(_variance, useful))
    if not 0 < whole < math.inf:
        return {}
    labels = _labels(result for group in useful for result in group)
    return {name: math.fsum(_covariance_of(name, group) for group in useful) / whole for name in labels}


def _useful(groups: Sequence[RewardResults]) -> list[list[RewardResult]]:
    """Return the scored members of groups whose totals differ."""
    scored = [[result for result in group if result.total.value is not None] for group in groups]
    return [group for group in scored if _varies(group)]


def _part(result: RewardResult, name: str) -> float:
    return result.weight(name) * (result.counted(name) or 0.0)


def _varies(group: Sequence[RewardResult]) -> bool:
    """Say whether the totals of a group differ by more than the rounding of their parts."""
    if not teaches(group):
        return False
    totals = [result.total.value or 0.0 for result in group]
    largest = max(abs(_part(result, name)) for result in group for name in result.rewards)
    return max(totals) - min(totals) > ROUNDING * largest and 0 < _variance(group) < math.inf


def _variance(group: Sequence[RewardResult]) -> float:
    return _covariance([result.total.value or 0.0 for result in group], group)


def _covariance_of(name: str, group: Sequence[RewardResult]) -> float:
    return _covariance([_part(result, name) for result in group], group)


def _covariance(parts: Sequence[float], group: Sequence[RewardResult]) -> float:
    return covariance(parts, [result.total.value or 0.0 for result in group])


def _group_metrics(results: Sequence[RewardResults], num_discarded: int) -> dict[str, float]:
    """The share of groups whose members differ in reward: the others teach nothing. A single completion cannot."""
    are_compared = any(len(group) > 1 for group in results)
    return {
        "groups/count": float(len(results)),
        "groups/discarded": float(num_discarded),
        **({"groups/useful": fmean(map(teaches, results))} if are_compared else {}),
    }


def _completion_metrics(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """Lengths in tokens, truncation, loops, and an unbiased estimate of the policy's entropy in nats a token."""
    lengths = [trajectory.num_sampled_tokens for trajectory in trajectories]
    surprisal = _mean(-logprob for trajectory in trajectories for logprob in _sampled_logprobs(trajectory))
    return {
        "completion/length_mean": fmean(lengths),
        "completion/length_max": float(max(lengths)),
        "completion/truncated": fmean(trajectory.finish_reason == "length" for trajectory in trajectories),
        "completion/repetition": fmean(is_repetitive(_sampled_tokens(trajectory)) for trajectory in trajectories),
        "policy/entropy": surprisal,
    }


def _divergence_metrics(
    results: Sequence[RewardResult], trajectories: Sequence[Trajectory], measured: Mapping[str, float]
) -> dict[str, float]:
    """Divergence from the initial policy a token and a completion, and the root of that, as arXiv:2210.10760 plots it.

    Where it is in the loss the learner has measured it; elsewhere it stands in the results.
    """
    found = [result.divergence for result in results if result.divergence is not None]
    metrics = {name: measured[name] for name in ("policy/kl", "policy/kl_sequence") if name in measured}
    if found:
        num_tokens = sum(trajectory.num_sampled_tokens for trajectory in trajectories)
        metrics["policy/kl"] = math.fsum(each.k3 for each in found) / max(num_tokens, 1)
        metrics["policy/kl_sequence"] = fmean(each.k1 for each in found)
    if "policy/kl_sequence" in metrics:
        metrics["policy/kl_sqrt"] = math.sqrt(max(metrics["policy/kl_sequence"], 0.0))
    return metrics


def _sampled_tokens(trajectory: Trajectory) -> tuple[int, ...]:
    return tuple(token for token, chosen in zip(trajectory.token_ids, trajectory.mask, strict=True) if chosen)


def _sampled_logprobs(trajectory: Trajectory) -> Iterator[float]:
    """Yield the log-probabilities of the tokens that the policy chose."""
    return (logprob for logprob, chosen in zip(trajectory.logprobs, trajectory.mask, strict=True) if chosen)


def _staleness_metrics(record: StepRecord, trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """Weight updates between sampling and learning, and the groups left out for them."""
    lags = [record.policy_version - trajectory.policy_version for trajectory in trajectories]
    return {
        "groups/too_old": float(record.batch.num_unused("stale")),
        "staleness/mean": fmean(lags),
        "staleness/max": float(max(lags)),
    }


def _token_staleness_metrics(record: StepRecord, trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """The same of each token, where new weights are loaded in the middle of a completion."""
    segments = [
        (segment.num_tokens, segment.policy_version)
        for trajectory in trajectories
        for segment in trajectory.segments
        if segment.policy_version is not None
    ]
    num_tokens = sum(count for count, _ in segments)
    lag = sum(count * (record.policy_version - version) for count, version in segments)
    mixed = (len({segment.policy_version for segment in each.segments} - {None}) > 1 for each in trajectories)
    return {"staleness/token_mean": lag / max(num_tokens, 1), "staleness/mixed": fmean(mixed)}


def is_repetitive(token_ids: tuple[int, ...]) -> bool:
    """Say whether a completion ends in a loop: its second half is one n-gram of tokens, three times or more.

    The last token is passed over, because an end-of-sequence token may have ended the loop.
    """
    tokens = token_ids[:-1]
    half = len(tokens) // 2
    longest = min(half // 3, MAX_REPEATED_TOKENS) if len(tokens) >= MIN_LOOPING_TOKENS else 0
    return any(tokens[-1] == tokens[-1 - n] and tokens[-half:] == tokens[-half - n : -n] for n in range(1, longest + 1))


def _speed_metrics(
    trajectories: Sequence[Trajectory], measured: Mapping[str, float], seconds: Mapping[str, float]
) -> dict[str, float]:
    """Seconds of each phase, and tokens a second where tokens are sampled or learned from.

    ``waiting``, ``learning`` and ``weight_sync`` add up to the step; ``sampling`` and ``scoring`` are part of the
    waiting, or run beside the learning where sampling runs ahead.
    """
    sampled = sum(trajectory.num_sampled_tokens for trajectory in trajectories)
    learning = seconds.get("learning", 0.0)
    return {
        **{f"seconds/{phase}": value for phase, value in seconds.items()},
        "seconds/step": sum(seconds.get(phase, 0.0) for phase in ("waiting", "learning", "weight_sync")),
        "tokens_per_second/sampling": sampled / max(seconds["sampling"], 1e-9),
        "tokens_per_second/learning": measured.get("learner/tokens", 0.0) / max(learning, 1e-9),
    }


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return fmean(listed) if listed else 0.0
