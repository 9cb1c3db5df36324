"""Which prompt to train with: templates and system messages, measured on the model before training.

Every prompt is sampled on the same training problems with the same seeds and scored by the run's own rewards, so that
prompts are compared in pairs. Held-out problems are left alone: a prompt that was chosen on them could not be measured
on them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import sqrt
from pathlib import Path
from statistics import fmean
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from reasonrl.config.settings import RunConfig
from reasonrl.errors import ConfigError, DataError, ModelError
from reasonrl.evaluation.estimates import mean_estimate, paired_difference
from reasonrl.evaluation.holm import holm
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import Template
from reasonrl.preference.samples import SampleRow
from reasonrl.rollout.templates import Renderer, find_template, write_template
from reasonrl.run.sample import PolicySampler, SampleRequest, policy_sampler
from reasonrl.run.sample_file import Tell, refuse_other_file, write_samples
from reasonrl.system.table import aligned

Values: TypeAlias = NDArray[np.float64]
"""One value a problem."""

LEVEL: Final = 0.95
MIN_PROBLEMS: Final = 2
"""Fewest problems that a difference can rest on."""
ANSWERED: Final = "answered"
"""The part of a reward's score that says whether it found an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A mean over problems with its 95 % interval."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptFigures:
    """What was measured of one prompt."""

    name: str
    reward: Figure
    """Mean total reward; completions without a score count in no figure of reward."""
    useful_groups: float
    """Share of problems whose completions were scored differently: only those teach."""
    truncated: float
    """Share of completions that the token limit cut."""
    answered: float | None
    """Share of completions in which every reward that looks for an answer found one; None where no reward says so."""
    mean_tokens: float
    behind: Figure | None = None
    """What the best prompt has more, in pairs; None for the best one."""
    p_value: float | None = None
    """That the difference to the best is none, corrected for the number of prompts (Holm 1979)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptComparison:
    """All prompts, the best first."""

    prompts: tuple[PromptFigures, ...]
    num_problems: int
    num_samples: int

    @property
    def not_told_apart(self) -> list[str]:
        """Prompts whose difference to the best may be none."""
        return [one.name for one in self.prompts if one.p_value is not None and one.p_value > 1 - LEVEL]


def candidates(
    config: RunConfig, templates: Sequence[str], systems: Sequence[str], plugins: Plugins
) -> tuple[Template, ...]:
    """Return the prompts to compare: each template, and each one that is a chat with each system message too.

    Args:
        config: the run, whose own template is always among them.
        templates: names or files; empty takes every installed one.
        systems: texts of system messages.
        plugins: where templates come from.

    Raises:
        ModelError: there is no such template.
        ConfigError: no template is a chat, so that a system message has no place.
    """
    named = [find_template(name, plugins) for name in templates or plugins.entries("templates")]
    own = find_template(config.template, plugins)
    found = [own, *(template for template in named if template.name != own.name)]
    chats = [template for template in found if template.chat and not template.system]
    if systems and not chats:
        raise ConfigError("--system: none of the templates is a chat, so a system message has no place: add one.")
    with_system = [
        replace(template, system=system, name=f"{template.name} + system {number}")
        for number, system in enumerate(systems, start=1)
        for template in chats
    ]
    return (*found, *with_system)


def compare_prompts(
    request: SampleRequest,
    prompts: Sequence[Template],
    plugins: Plugins,
    out: Path,
    *,
    overwrite: bool,
    tell: Tell = lambda done, total: None,
) -> tuple[PromptComparison, tuple[str, ...]]:
    """Sample and score every prompt, each into a file that an interrupted call goes on with.

    Args:
        request: the run, and how much of it to sample.
        prompts: of :func:`candidates`.
        plugins: where task and rewards come from.
        out: folder for the samples, and for templates with a system message.
        overwrite: begin anew where files are there.
        tell: is told of every part of all prompts.

    Returns:
        The comparison, and why prompts were left out.

    Raises:
        ModelError: no prompt can be used with the model.
        StoppedError: Ctrl-C was pressed.
    """
    files = {prompt.name: out / f"{_slug(prompt.name)}.jsonl" for prompt in prompts}
    for prompt in prompts:
        refuse_other_file(files[prompt.name], _settings(request, prompt), overwrite)
    rows: dict[str, list[SampleRow]] = {}
    with policy_sampler(request, plugins) as policy:
        samplers, left_out = _with_prompts(policy, prompts, request.config)
        total = len(policy.problems) * len(samplers)
        for number, (prompt, sampler) in enumerate(samplers):
            before = number * len(policy.problems)

            def count(done: int, _: int, before: int = before) -> None:
                tell(before + done, total)

            settings = _settings(request, prompt)
            rows[prompt.name] = write_samples(sampler, settings, files[prompt.name], overwrite=overwrite, tell=count)
            if prompt.system:
                write_template(prompt, template_path(out, prompt.name))
    return compared(rows), left_out


def template_path(out: Path, name: str) -> Path:
    """Return where the file of a prompt with a system message stands."""
    return out / f"{_slug(name)}.yaml"


def _slug(name: str) -> str:
    return Path(name.replace(" + ", "-").replace(" ", "-")).name


def _settings(request: SampleRequest, prompt: Template) -> dict[str, object]:
    """Return everything that decides the rows of a prompt."""
    return {**request.settings(), "template": asdict(prompt)}


def _with_prompts(
    policy: PolicySampler, prompts: Iterable[Template], config: RunConfig
) -> tuple[list[tuple[Template, PolicySampler]], tuple[str, ...]]:
    """Return a sampler for each prompt that the model can be given, and why others are left out."""
    assert policy.tokenizer is not None, "no endpoint was asked for"
    usable, left_out = [], []
    for prompt in prompts:
        try:
            renderer = Renderer(policy.tokenizer, prompt, timeout_s=config.plugins.timeout_s)
            for problem in policy.problems:
                renderer.render(problem)
        except ModelError as error:
            left_out.append(f"{prompt.name}: {error}")
        else:
            usable.append((prompt, _rendering(policy, renderer, config)))
    if not usable:
        raise ModelError(f"no prompt can be used: {'; '.join(left_out)}")
    return usable, tuple(left_out)


def _rendering(policy: PolicySampler, renderer: Renderer, config: RunConfig) -> PolicySampler:
    """Return the sampler with other prompts."""
    from reasonrl.run.build import environment_of  # needs torch

    environment = environment_of(config, lambda _: renderer)
    groups = replace(policy.sampler.groups, environment=environment)
    return replace(policy, sampler=replace(policy.sampler, groups=groups))


def compared(rows: Mapping[str, Sequence[SampleRow]]) -> PromptComparison:
    """Return the figures of every prompt, the one of the highest mean reward first.

    Args:
        rows: the completions of each prompt by its name, of the same problems.

    Raises:
        DataError: a prompt has no completion with a score.
    """
    values = {name: _reward_by_problem(name, of_prompt) for name, of_prompt in rows.items()}
    shared = set.intersection(*map(set, values.values()))
    if len(shared) < MIN_PROBLEMS:
        raise DataError(
            f"{len(shared)} problems have a scored completion with every prompt, so nothing can be compared: give more "
            "--num-problems, or look at the scores in the files of samples."
        )
    order = sorted(rows, key=lambda name: -fmean(values[name][problem] for problem in sorted(shared)))
    by_problem = {name: np.array([values[name][problem] for problem in sorted(shared)]) for name in order}
    best = by_problem[order[0]]
    differences = {name: _difference(by_problem[name], best) for name in order[1:]}
    adjusted = dict(zip(differences, holm([p_value for _, p_value in differences.values()]), strict=True))
    prompts = tuple(
        replace(
            _figures(name, rows[name], by_problem[name]),
            behind=differences[name][0] if name in differences else None,
            p_value=adjusted.get(name),
        )
        for name in order
    )
    of_one = rows[order[0]]
    return PromptComparison(prompts=prompts, num_problems=len(shared), num_samples=len(of_one) // len(values[order[0]]))


def _reward_by_problem(name: str, rows: Sequence[SampleRow]) -> dict[str, float]:
    """Return each problem's mean reward over its completions that have a score."""
    scores: dict[str, list[float]] = {}
    for row in rows:
        if row.score is not None:
            scores.setdefault(row.problem_id, []).append(row.score)
    if not scores:
        raise DataError(f"prompt {name!r}: no completion has a score, such as: {rows[0].why or rows[0].outcome}.")
    return {problem_id: fmean(of_problem) for problem_id, of_problem in scores.items()}


def _figures(name: str, rows: Sequence[SampleRow], rewards_P: Values) -> PromptFigures:
    scores: dict[str, set[float]] = {}
    for row in rows:
        scores.setdefault(row.problem_id, set()).update([] if row.score is None else [row.score])
    answered = [
        min(score.parts[ANSWERED] for score in row.rewards.values() if ANSWERED in score.parts)
        for row in rows
        if any(ANSWERED in score.parts for score in row.rewards.values())
    ]
    return PromptFigures(
        name=name,
        reward=_mean(rewards_P),
        useful_groups=fmean(len(of_problem) > 1 for of_problem in scores.values()),
        truncated=fmean(row.finish_reason == "length" for row in rows),
        answered=fmean(answered) if answered else None,
        mean_tokens=fmean(row.num_tokens for row in rows),
    )


def _mean(values_P: Values) -> Figure:
    """Return the mean: with the interval of suites where values lie between 0 and 1, else with Student's."""
    if _are_shares(values_P):
        estimate = mean_estimate(values_P.tolist(), level=LEVEL)
        return Figure(value=estimate.value, lower=estimate.lower, upper=estimate.upper)
    return _student(values_P)


def _difference(values_P: Values, best_P: Values) -> tuple[Figure, float]:
    """Return what the best has more, in pairs, and the probability of as much by chance."""
    if _are_shares(values_P) and _are_shares(best_P):
        paired = paired_difference(values_P.tolist(), best_P.tolist(), level=LEVEL)
        return Figure(value=paired.difference, lower=paired.lower, upper=paired.upper), paired.p_value
    differences_P = best_P - values_P
    is_constant = bool((differences_P == differences_P[0]).all())
    p_value = float(differences_P[0] == 0) if is_constant else float(stats.ttest_1samp(differences_P, 0.0).pvalue)
    return _student(differences_P), p_value


def _are_shares(values_P: Values) -> bool:
    return bool(((values_P >= 0) & (values_P <= 1)).all())


def _student(values_P: Values) -> Figure:
    mean, count = float(values_P.mean()), values_P.size
    reach = float(stats.t.ppf((1 + LEVEL) / 2, count - 1) * values_P.std(ddof=1) / sqrt(count))
    return Figure(value=mean, lower=mean - reach, upper=mean + reach)


def render_prompts(comparison: PromptComparison, left_out: Sequence[str], request: SampleRequest, out: Path) -> str:
    """Return the comparison as a table, the best prompt, and how to train with it."""
    config, best = request.config, comparison.prompts[0]
    title = (
        f"{comparison.num_problems} training problems, {comparison.num_samples} completions each, "
        f"model {config.model.name}, temperature {config.rollout.temperature:g}, "
        f"max_new_tokens {config.rollout.max_new_tokens}"
    )
    header = ["prompt", "reward (95 %)", "behind the best (paired)", "useful groups", "truncated", "answered", "tokens"]
    table = aligned([header, *map(_table_row, comparison.prompts)])
    return "\n".join(
        [title, "", *table, "", *_conclusion(comparison, best, out), *map("left out: {}".format, left_out)]
    )


def _table_row(prompt: PromptFigures) -> list[str]:
    return [
        prompt.name,
        _shown(prompt.reward),
        "" if prompt.behind is None else _shown(prompt.behind),
        f"{prompt.useful_groups:.1%}",
        f"{prompt.truncated:.1%}",
        "" if prompt.answered is None else f"{prompt.answered:.1%}",
        f"{prompt.mean_tokens:.1f}",
    ]


def _shown(figure: Figure) -> str:
    return f"{figure.value:.3f} [{figure.lower:.3f}, {figure.upper:.3f}]"


def _conclusion(comparison: PromptComparison, best: PromptFigures, out: Path) -> Iterator[str]:
    """Say which prompt is the best, which may be as good, and how to train with it."""
    yield f"best: {best.name}, reward {_shown(best.reward)}, {best.truncated:.1%} truncated"
    if same := comparison.not_told_apart:
        yield f"not told apart from it (sign-flip, McNemar or t test; Holm, 5 %): {', '.join(same)}"
    if len(comparison.prompts) > 1:
        yield "The figure of the best of several is a little too high; held-out figures of a run are not touched by it."
    if max(prompt.useful_groups for prompt in comparison.prompts) == 0:
        yield "With no prompt do the completions of any problem differ in reward: a run would learn nothing yet."
    file = template_path(out, best.name)
    yield f"to train with it: template={file if file.exists() else best.name}"
