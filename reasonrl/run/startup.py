"""The start-up report: what the model is really given and really says, from the first batch of a run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import TYPE_CHECKING

from reasonrl.config.settings import RunConfig
from reasonrl.engines.tokens import end_token_sources
from reasonrl.system.printable import block, visible
from reasonrl.types import Batch, Group, RewardResult, RewardResults, Score, Trajectory, teaches

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAX_GROUPS_SHOWN, MAX_CHARACTERS_SHOWN = 2, 600
"""Groups whose best and worst completion are shown, and the most characters of one."""
NUM_BINS, BAR_WIDTH = 5, 40
"""Classes of the histogram beside that of no spread, and characters of its longest bar."""


@dataclass(frozen=True, slots=True)
class StartupReport:
    """What the first batch shows."""

    text: str
    """Markdown."""
    warnings: tuple[str, ...]
    """What is probably wrong."""


def startup_report(
    batch: Batch, config: RunConfig, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase"
) -> StartupReport:
    """Describe prompt, special tokens, completions, scores and groups of a batch."""
    end = end_token_sources(model, tokenizer)
    warnings = tuple(_warnings(batch, tokenizer.bos_token_id, frozenset(end)))
    parts = [
        [f"# Start-up report of {config.name}"],
        [f"**Warning:** {warning}" for warning in warnings] or ["No warnings."],
        ["## Prompt", *_prompt_lines(batch.groups)],
        ["## Special tokens", "\n".join(_token_lines(batch.groups[0], end, tokenizer))],
        ["## Completions", *_completion_lines(batch)],
        ["## Groups", *_group_lines(batch, config.rollout.prompts_per_step)],
    ]
    return StartupReport("\n\n".join(paragraph for part in parts for paragraph in part) + "\n", warnings)


def _warnings(batch: Batch, bos: int | None, end_ids: frozenset[int]) -> Iterator[str]:
    """Say what is probably wrong."""
    sampled = list(batch.sampled())
    completions = [completion for group, _ in sampled for completion in group.trajectories]
    if bos is not None and any(_leading(group.prompt_ids, bos) > 1 for group, _ in sampled):
        yield (
            "prompts begin with the beginning-of-sequence token twice, which the model has never seen. Take it out of "
            "the template: the tokenizer adds it."
        )
    if all(completion.finish_reason == "length" for completion in completions):
        yield "every completion was truncated: raise rollout.max_new_tokens, or tell the model how to end its answer."
    elif not any(completion.token_ids[-1] in end_ids for completion in completions):
        yield "no completion was ended by an end-of-sequence token: the model may not know how to end its answer."
    if _are_compared(batch) and not any(teaches(results) for _, results in sampled):
        yield (
            "no group is useful: within each, all completions have the same reward, so nothing would be learned. Use "
            "easier or harder problems, or a reward with partial credit."
        )


def _leading(prompt_ids: Sequence[int], token: int) -> int:
    return next((count for count, found in enumerate(prompt_ids) if found != token), len(prompt_ids))


def _prompt_lines(groups: Sequence[Group]) -> Iterator[str]:
    """Show the first prompt; of a mixture, where templates may differ, the first of each task."""
    first = {group.problem.task: group for group in reversed(groups)}
    for task, group in reversed(first.items()):
        of_task = f" of task {task!r}" if len(first) > 1 else ""
        yield f"The first problem's{of_task}, {len(group.prompt_ids)} tokens:"
        yield block(group.prompt, len(group.prompt))


def _token_lines(group: Group, end: dict[int, tuple[str, ...]], tokenizer: "PreTrainedTokenizerBase") -> Iterator[str]:
    """Say which tokens begin a prompt, end a completion and fill up a row."""

    def named(token: int) -> str:
        return f"{token} `{visible(str(tokenizer.convert_ids_to_tokens(token)))}`"

    bos, pad = tokenizer.bos_token_id, tokenizer.pad_token_id
    count = 0 if bos is None else _leading(group.prompt_ids, bos)
    times = "none" if count == 0 else "one" if count == 1 else f"**{count}**, one too many"
    yield f"- beginning of sequence at the prompt's start: {times}; the tokenizer's is " + (
        "not set" if bos is None else named(bos)
    )
    for token, places in end.items():
        yield f"- end of sequence: {named(token)}, named by the {', the '.join(places)}"
    if not end:
        yield "- end of sequence: none is known, so only stop strings end a completion"
    if pad in end:
        yield (
            f"- padding: {named(pad)} is also an end of sequence. That is harmless here: rows are masked by their "
            "lengths, never by comparing with the padding token, so ends of completions are learned"
        )


def _completion_lines(batch: Batch) -> Iterator[str]:
    """Show the best and the worst completion of some groups, those that teach first."""
    sampled = sorted(batch.sampled(), key=lambda item: not teaches(item[1]))
    for group, results in sampled[:MAX_GROUPS_SHOWN]:
        yield f"Problem {group.problem.id}, answer {group.problem.answer!r}:"
        for member in _best_and_worst(results):
            yield _heading(group.trajectories[member], results[member])
            yield block(group.trajectories[member].text, MAX_CHARACTERS_SHOWN)


def _best_and_worst(results: RewardResults) -> list[int]:
    """Return the members of highest and lowest score; one without a score is lowest."""
    order = sorted(range(len(results)), key=lambda member: _rank(results[member].total), reverse=True)
    return list(dict.fromkeys((order[0], order[-1])))


def _rank(score: Score) -> float:
    """Order scores; none comes last."""
    return float("-inf") if score.value is None else score.value


def _heading(completion: Trajectory, result: RewardResult) -> str:
    whys = "; ".join(f"{name} {_value(score)}: {visible(score.why)}" for name, score in result.rewards.items())
    length = f"{len(completion.token_ids)} tokens"
    return f"- reward {_value(result.total)} ({whys}), finish reason `{completion.finish_reason}`, {length}"


def _value(score: Score) -> str:
    return score.outcome if score.value is None else f"{score.value:.3f}"


def _are_compared(batch: Batch) -> bool:
    """Say whether completions have siblings."""
    return any(len(results) > 1 for _, results in batch.sampled())


def _group_lines(batch: Batch, prompts_per_step: int) -> list[str]:
    """Say how far the rewards of a group's members are apart, and what to expect of a step."""
    sampled = list(batch.sampled())
    if not _are_compared(batch):
        return ["Every problem has one completion (rollout.samples_per_prompt): it is compared with no sibling."]
    useful = sum(teaches(results) for _, results in sampled)
    cut = fmean(c.finish_reason == "length" for group, _ in sampled for c in group.trajectories)
    return [
        "Spread of the reward (standard deviation) within each group:",
        "\n".join(f"    {line}" for line in _histogram([_spread(results) for _, results in sampled])),
        f"- useful groups: {useful} of {len(sampled)} ({useful / len(sampled):.0%}); only these teach something\n"
        f"- expected: about {prompts_per_step * useful / len(sampled):.1f} useful groups in a step of "
        f"{prompts_per_step}, as long as the policy stays as it is\n"
        f"- truncated: {cut:.0%} of completions",
    ]


def _spread(results: RewardResults) -> float:
    values = [result.total.value for result in results if result.total.value is not None]
    return pstdev(values) if values else 0.0


def _histogram(spreads: Sequence[float]) -> Iterator[str]:
    """Draw the spreads: none, then equal classes up to the largest."""
    width = max(spreads) / NUM_BINS
    counts = [sum(spread == 0 for spread in spreads), *([0] * NUM_BINS if width else [])]
    for spread in spreads:
        if spread > 0:
            counts[1 + min(int(spread / width), NUM_BINS - 1)] += 1
    for number, count in enumerate(counts):
        label = f"up to {number * width:.3g}" if number else "none"
        yield f"{label:<12} {'#' * round(BAR_WIDTH * count / max(counts)):<{BAR_WIDTH}} {count}"
