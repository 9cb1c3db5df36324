"""Where reward and metric disagree on held-out completions, as a file that people read.

What the policy may have found to please the reward stands first: completions with a high reward that the metric calls
wrong. The other direction, right ones with a low reward, shows what the reward fails to pay for.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from reasonrl.evaluation.results import SampleResult, SuiteResult
from reasonrl.run.reward_beside_metric import Range, correlation_of, high_when_wrong, reward_range, rewarded
from reasonrl.system.printable import block, visible
from reasonrl.types import RewardResult, Score

FILE: Final = "disagreements.md"
MAX_SHOWN: Final = 20
"""Most completions of each direction."""
PROMPT_CHARACTERS, COMPLETION_CHARACTERS = 600, 2000
"""Most characters of the end of a prompt, and of a completion."""
MIN_DIFFERENCE: Final = 1e-9
"""Smallest difference between reward and metric that is one."""


def disagreement_report(
    result: SuiteResult, results: Mapping[str, RewardResult], seen: Range | None, step: int
) -> str | None:
    """Return the file as Markdown; None where no completion has a reward.

    Args:
        result: completions with metric and reward.
        results: what each reward said, by the rollout's id.
        seen: range of the reward in the suite's evaluations before this one.
        step: steps of training before it.
    """
    rows = rewarded(result)
    if not rows:
        return None
    scale = reward_range(rows).joined(seen)
    parts = [f"# Reward and metric on {visible(result.name)} after step {step}", *_overview(result, rows, scale)]
    if scale.width > 0:
        parts += _section("High reward, metric wrong", rows, scale, results, sign=1)
        parts += _section("Metric right, low reward", rows, scale, results, sign=-1)
    else:
        parts.append("Every completion has the same reward, and had it before: there is nothing to compare.")
    return "\n\n".join(parts) + "\n"


def _overview(result: SuiteResult, rows: Sequence[SampleResult], scale: Range) -> Iterator[str]:
    """Yield what holds of all completions."""
    correlation, wrong = correlation_of(rows), high_when_wrong(rows, scale)
    lines = [
        f"- metric: {sum(row.value for row in rows) / len(rows):.1%} on average",
        f"- reward: {sum(row.reward or 0.0 for row in rows) / len(rows):.3f} on average; its range so far is "
        f"{scale.low:.3f} to {scale.high:.3f} (5th to 95th percentile)",
        f"- correlation of the two: {_correlation(correlation)}",
    ]
    if wrong is not None:
        lines.append(f"- of the completions that the metric calls wrong, {wrong:.1%} have a reward in the upper half")
    if missing := len(result.rows) - len(rows):
        lines.append(f"- {missing} of {len(result.rows)} completions have no reward and are left out")
    yield "\n".join(lines)
    yield (
        "A disagreement is the reward, as a share of its range, less the metric. Completions are in the order of its "
        "size; `samples.jsonl` has all of them."
    )


def _correlation(found: float | None) -> str:
    return "none, as one of them does not vary" if found is None else f"{found:.2f} (Pearson, over completions)"


def _section(
    title: str, rows: Sequence[SampleResult], scale: Range, results: Mapping[str, RewardResult], *, sign: int
) -> Iterator[str]:
    """Yield the completions whose reward is above the metric, or below it where the sign is negative."""
    far = [(sign * (scale.share(row.reward or 0.0) - row.value), row) for row in rows]
    found = sorted((one for one in far if one[0] > MIN_DIFFERENCE), key=lambda one: (-one[0], one[1].sample_index))
    shown = _one_a_problem_first([row for _, row in found])[:MAX_SHOWN]
    yield f"## {title}: {len(found)} of {len(rows)} completions"
    if not found:
        yield "None."
    for number, row in enumerate(shown, 1):
        yield from _entry(number, row, results.get(_rollout_id(row)))
    if len(found) > len(shown):
        yield f"... and {len(found) - len(shown)} more."


def _one_a_problem_first(rows: Sequence[SampleResult]) -> list[SampleResult]:
    """Return rows in their order, but each problem's second one after the first ones of all, and so on."""
    seen: Counter[str] = Counter()
    turns = []
    for row in rows:
        turns.append(seen[row.problem_id])
        seen[row.problem_id] += 1
    return [row for _, row in sorted(zip(turns, rows, strict=True), key=lambda one: one[0])]


def _entry(number: int, row: SampleResult, result: RewardResult | None) -> Iterator[str]:
    yield (
        f"### {number}. problem {visible(row.problem_id)}, sample {row.sample_index}: reward {row.reward:.3f}, "
        f"metric {row.value:.3g}"
    )
    yield "\n".join(_facts(row, result))
    yield "Prompt" + (":" if len(row.prompt) <= PROMPT_CHARACTERS else f", its last {PROMPT_CHARACTERS} characters:")
    yield block(row.prompt[-PROMPT_CHARACTERS:], PROMPT_CHARACTERS)
    yield f"Completion, {row.num_tokens} tokens, finish reason {row.finish_reason}:"
    yield block(row.completion, COMPLETION_CHARACTERS)


def _facts(row: SampleResult, result: RewardResult | None) -> Iterator[str]:
    """Yield what reward and metric made of the completion."""
    yield f"- answer: {_code(row.answer)}"
    yield "- parsed by the metric: " + ("nothing" if row.parsed is None else _code(row.parsed))
    if row.why:
        yield f"- metric {row.outcome}: {_code(row.why)}"
    if result is None:
        yield from (f"- reward {_code(name)}: {_number(value)}" for name, value in row.rewards.items())
        return
    for name, score in result.rewards.items():
        yield f"- reward {_code(name)}, weight {result.weight(name):g}: {_score(score)}" + (
            " (its gate is shut: it counts 0)" if name in result.shut else ""
        )


def _score(score: Score) -> str:
    why = f" {_code(score.why)}" if score.why else ""
    return f"{score.outcome if score.value is None else _number(score.value)}{why}"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _code(text: str, longest: int = 300) -> str:
    """Return text as a code span of one line; it is no Markdown whatever stands in it."""
    shown = visible(text if len(text) <= longest else f"{text[:longest]}...")
    ticks = "`" * (1 + max((len(run) for run in _runs(shown)), default=0))
    space = " " if shown.startswith("`") or shown.endswith("`") or not shown else ""
    return f"{ticks}{space}{shown}{space}{ticks}"


def _runs(text: str) -> list[str]:
    """Return the runs of backquotes in a text."""
    return "".join(character if character == "`" else " " for character in text).split()


def _rollout_id(row: SampleResult) -> str:
    """Return the id of the row's rollout, as :attr:`reasonrl.types.Rollout.id` makes it."""
    return f"{row.problem_id}-{row.seed:x}"
