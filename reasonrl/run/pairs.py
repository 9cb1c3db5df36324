"""Make preference data from samples of a policy: labels by their score, or by a reward that is applied to them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from pydantic import ValidationError

from reasonrl.config.reward_model import SampledPairs
from reasonrl.config.settings import PluginRef, RewardRef, RunConfig, ScoringSettings
from reasonrl.errors import ConfigError, DataError, and_known
from reasonrl.plugins.lookup import Plugins
from reasonrl.preference.pairs import (
    LabeledSample,
    MadeLabels,
    MadePairs,
    PairSettings,
    label_row,
    make_labels,
    make_pairs,
)
from reasonrl.preference.samples import SampleRow, read_sample_rows
from reasonrl.run.inputs import HELDOUT_SEED
from reasonrl.run.sample import SampleRequest, policy_sampler
from reasonrl.run.sample_file import read_settings
from reasonrl.run.tasks import load_problems
from reasonrl.scoring import RewardScorer
from reasonrl.scoring.contract import load_reward
from reasonrl.system import jsonl
from reasonrl.system.atomic import write_atomically
from reasonrl.system.disk import disk_errors
from reasonrl.system.summary import Summary
from reasonrl.types import Group, Problem

Form: TypeAlias = Literal["pairs", "outcome"]
Tell: TypeAlias = Callable[[int, int], None]
"""Is told how many problems are done, and of how many."""

PROBLEMS_AT_ONCE: Final = 64
"""Problems whose completions are labeled at once."""
SAMPLED_AT_ONCE: Final = 32
"""Problems that are sampled at once where no run file says how many."""
SCORE: Final = "score"
"""Label that stands for the weighted sum of a run's rewards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairsRequest:
    """What to make of a file of samples."""

    samples: Path
    out: Path
    label: str = SCORE
    """``score``, or the label of a reward of the samples."""
    gold: RewardRef | None = None
    """Reward to apply in place of ``label``."""
    max_failure_rate: float = 0.1
    """Share of the completions on which ``gold`` may fail."""
    form: Form = "pairs"
    pairs: PairSettings = field(default_factory=PairSettings)
    threshold: float | None = None
    """From this label on an outcome is right."""
    with_margin: bool = False
    """Write the gap of the labels as ``margin``."""
    overwrite: bool = False


def make_pairs_file(request: PairsRequest, plugins: Plugins, tell: Tell) -> Summary:
    """Write pairs, or labeled completions, and return a summary.

    Raises:
        ConfigError: the file is there already, or a name is wrong.
        DataError: the samples cannot be read, or nothing can be made of them.
        RunError: the gold reward fails too often, or the disk refuses the file.
    """
    if request.out.exists() and not request.overwrite:
        raise ConfigError(f"{request.out} exists already. Give another --out, or --overwrite to replace it.")
    rows = list(read_sample_rows(request.samples))
    if not rows:
        raise DataError(f"{request.samples}: holds no samples.")
    samples = _labeled(request, rows, plugins, tell)
    made: MadePairs | MadeLabels
    if request.form == "outcome":
        settings = request.pairs
        made = make_labels(samples, threshold=request.threshold, flip=settings.flip, seed=settings.seed)
        records = [label_row(row) for row in made.rows]
    else:
        made = make_pairs(samples, request.pairs)
        records = [pair.row(with_margin=request.with_margin) for pair in made.pairs]
    told = render_labels(made) if isinstance(made, MadeLabels) else render_pairs(made)
    if not records:
        raise DataError(f"{request.samples}: nothing can be made of it.\n{told}")
    with disk_errors(request.out, "then give the command again."):
        request.out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(request.out, jsonl.encode(records))
    by = f"reward {request.gold.key!r}" if request.gold else f"their {request.label}"
    values = {"form": request.form, "rows": len(records), "labeled_by": by, "file": str(request.out), **_counts(made)}
    return Summary(f"{told}\nlabeled by {by}\nWritten: {request.out}", values)


def _counts(made: MadePairs | MadeLabels) -> dict[str, Any]:
    """Return what became of the samples. Any: JSON values."""
    if isinstance(made, MadePairs):
        return {**asdict(made.counts), "lengths": asdict(made.lengths())}
    return {name: getattr(made, name) for name in ("completions", "unlabeled", "repeated", "flipped")}


# Labels.


def _labeled(request: PairsRequest, rows: Sequence[SampleRow], plugins: Plugins, tell: Tell) -> list[LabeledSample]:
    if request.gold is not None:
        problems = _whole_problems(request.samples, rows, plugins)
        return _labeled_by_gold(rows, problems, request.gold, request.max_failure_rate, plugins, tell)
    return [
        LabeledSample(problem=row.problem(), completion=row.completion, label=_label(row, request.label, number))
        for number, row in enumerate(rows, start=1)
    ]


def _label(row: SampleRow, name: str, number: int) -> float | None:
    if name == SCORE:
        return row.score
    if name not in row.rewards:
        known = and_known(name, [SCORE, *row.rewards])
        raise ConfigError(f"--label {name}: row {number} of the samples has no such reward.{known}")
    return row.rewards[name].value


def _whole_problems(samples: Path, rows: Sequence[SampleRow], plugins: Plugins) -> Mapping[str, Problem]:
    """Return the problems by id, as the task makes them: with the columns that rows do not hold.

    Those of a file that was not made here are what its rows say.
    """
    of_rows = {problem.id: problem for problem in (row.problem() for row in rows)}
    settings = read_settings(samples)
    if settings is None:
        return of_rows
    split = settings["split"]
    seed = HELDOUT_SEED if split == "heldout" else 0
    tasks = settings["task"] if isinstance(settings["task"], list) else [settings["task"]]
    named = [PluginRef(name=task["name"], params=task["params"]) for task in tasks]
    of_tasks = [problem for task in named for problem in load_problems(task, plugins, split=split, seed=seed)]
    whole = {problem.id: problem for problem in of_tasks if problem.id in of_rows}
    for name, problem in of_rows.items():
        if name not in whole or whole[name].prompt != problem.prompt:
            raise DataError(
                f"{samples}: problem {name} is not what task {problem.task!r} has now, so it cannot be labeled by a "
                "reward: sample anew, or use --label."
            )
    return whole


def _labeled_by_gold(
    rows: Sequence[SampleRow],
    problems: Mapping[str, Problem],
    gold: RewardRef,
    max_failure_rate: float,
    plugins: Plugins,
    tell: Tell,
) -> list[LabeledSample]:
    """Apply a reward to rows, the completions of a problem together, as a run does."""
    members: dict[str, list[tuple[int, SampleRow]]] = {}
    for number, row in enumerate(rows):
        members.setdefault(row.problem().id, []).append((number, row))
    groups = [_group(problems[name], of_problem) for name, of_problem in members.items()]
    settings, labeled = ScoringSettings(max_failure_rate=max_failure_rate), list[LabeledSample]()
    with closing(RewardScorer([load_reward(gold, plugins)], settings)) as scorer:
        for first in range(0, len(groups), PROBLEMS_AT_ONCE):
            tell(first, len(groups))
            some = groups[first : first + PROBLEMS_AT_ONCE]
            for group, results in zip(some, scorer.score(some, 0), strict=True):
                labels = [result.rewards[gold.key].value for result in results]
                labeled += [
                    LabeledSample(problem=group.problem, completion=trajectory.text, label=label)
                    for trajectory, label in zip(group.trajectories, labels, strict=True)
                ]
    tell(len(groups), len(groups))
    return labeled


def _group(problem: Problem, rows: Sequence[tuple[int, SampleRow]]) -> Group:
    """Return the completions of a problem; each has the number of its row as its seed, which tells it apart."""
    return Group(
        problem=problem,
        prompt=rows[0][1].rendered_prompt,
        prompt_ids=(),
        trajectories=tuple(row.trajectory(seed=number) for number, row in rows),
    )


# In one go.


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledExamples:
    """Rows of TRL's schema, and how they were made."""

    rows: tuple[Mapping[str, Any], ...]
    """Any: JSON values."""
    summary: str


def sampled_pairs(
    settings: SampledPairs,
    plugins: Plugins,
    *,
    seed: int = 0,
    form: Form = "pairs",
    device: str = "auto",
    tell: Tell = lambda done, total: None,
) -> SampledExamples:
    """Sample completions of a policy, label them by a reward, and make preference data of them.

    Args:
        settings: policy, task, template, gold reward, and how much of all.
        plugins: where task, template and reward come from.
        seed: decides the problems, the sampling, which pairs are drawn and which are turned round.
        form: pairs, or labeled completions for an outcome model, whose labels are those of the reward, from 0 to 1.
        device: where the policy runs.
        tell: is told of progress.

    Raises:
        ConfigError: the task has fewer problems.
        DataError: no pair, or no label, can be made.
        ReasonRLError: policy, task, template or reward cannot be loaded.
    """
    request = SampleRequest(config=_run_of(settings, seed, device), num_problems=settings.num_problems)
    samples: list[LabeledSample] = []
    with policy_sampler(request, plugins) as policy:
        whole = {problem.id: problem for problem in policy.problems}
        for part in policy.rows():
            samples += [
                LabeledSample(problem=whole[row.problem_id], completion=row.completion, label=row.score) for row in part
            ]
            tell(len(samples) // settings.samples_per_prompt, settings.num_problems)
    return _examples(samples, settings, seed, form)


def _examples(samples: Sequence[LabeledSample], settings: SampledPairs, seed: int, form: Form) -> SampledExamples:
    if form == "outcome":
        labels = make_labels(samples, flip=settings.flip, seed=seed)
        rows, summary = [label_row(row) for row in labels.rows], render_labels(labels)
    else:
        drawn = PairSettings(pairing="all", pairs_per_prompt=settings.pairs_per_prompt, flip=settings.flip, seed=seed)
        pairs = make_pairs(samples, drawn)
        rows, summary = [pair.row() for pair in pairs.pairs], render_pairs(pairs)
    if not rows:
        raise DataError(f"data.sampled: nothing can be made of the samples of reward {settings.gold.key!r}.\n{summary}")
    return SampledExamples(rows=tuple(rows), summary=summary)


def _run_of(settings: SampledPairs, seed: int, device: str) -> RunConfig:
    """Return the run whose policy is sampled: its total is what the reward says.

    Raises:
        ConfigError: a setting of the reward makes no sense for one that stands alone.
    """
    run = {
        "name": "sampled-pairs",
        "seed": seed,
        "model": {"name": settings.model, "device": device, "allow_other_template": True},  # pairs are of any prompts
        "task": settings.task.model_dump(),
        "template": settings.template,
        "rewards": [settings.gold],
        "rollout": {
            "prompts_per_step": min(settings.num_problems, SAMPLED_AT_ONCE),
            "samples_per_prompt": settings.samples_per_prompt,
            "max_new_tokens": settings.max_new_tokens,
            "temperature": settings.temperature,
        },
        "run": {"steps": 1},
    }
    try:
        return RunConfig.model_validate(run)
    except ValidationError as error:
        mistakes = "; ".join(item["msg"].removeprefix("Value error, ") for item in error.errors())
        raise ConfigError(f"data.sampled: {mistakes}") from None


# Summaries.


def render_pairs(made: MadePairs) -> str:
    """Return what became of completions and pairs, as text."""
    counts, lengths = made.counts, made.lengths()
    lines = [
        f"{counts.completions} completions of {counts.prompts} prompts: {counts.unlabeled} without a label, "
        f"{counts.repeated} repeat another one's text",
        f"{counts.candidates} candidates: {counts.pairs} pairs, {counts.ties} ties"
        f"{_share(counts.ties, counts.candidates)}, {counts.small_gaps} below the smallest gap, "
        f"{counts.not_drawn} not drawn",
        f"{counts.pairs} pairs of {counts.prompts_with_pairs} prompts, {counts.flipped} turned round"
        f"{_share(counts.flipped, counts.pairs)}",
    ]
    if counts.pairs:
        lines += [
            f"the chosen text is longer in {lengths.chosen_longer / counts.pairs:.1%} of the pairs and as long in "
            f"{lengths.equally_long / counts.pairs:.1%}; it has {lengths.mean_difference:+.1f} characters on average"
        ]
    return "\n".join(lines)


def render_labels(made: MadeLabels) -> str:
    """Return what became of completions, as text."""
    lines = [
        f"{made.completions} completions: {made.unlabeled} without a label, {made.repeated} repeat another one's text",
        f"{len(made.rows)} labels, {made.flipped} turned round{_share(made.flipped, len(made.rows))}",
    ]
    if made.rows:
        lines += [f"mean label {sum(row.label for row in made.rows) / len(made.rows):.3f}"]
    return "\n".join(lines)


def _share(count: int, whole: int) -> str:
    return f" ({count / whole:.1%})" if whole else ""
