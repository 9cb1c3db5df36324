"""Rejection sampling: sample a policy, choose what is learned from, and write it as rows of a schema.

The completions stand in a file of their own, which only grows and is gone on with; the file of chosen rows is made of
them anew each time.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from reasonrl.config.rewards import passing_total
from reasonrl.errors import ConfigError, DataError
from reasonrl.plugins.lookup import Plugins
from reasonrl.preference.finetuning_rows import Prompt, finetuning_row
from reasonrl.preference.samples import SampleRow
from reasonrl.preference.selection import SCORE, Choice, Selected, Selection, render_counts, select
from reasonrl.rollout.templates import FilledTemplate, find_template
from reasonrl.run.sample import SampleInputs, SampleRequest, sample_inputs
from reasonrl.run.sample_file import (
    Tell,
    encoded_settings,
    refuse_other_file,
    sample_to_file,
    sampled_rows,
    settings_path,
    summarize_samples,
)
from reasonrl.system import jsonl
from reasonrl.system.atomic import write_together
from reasonrl.system.disk import disk_errors
from reasonrl.system.summary import Summary

PromptOf: TypeAlias = Callable[[SampleRow], tuple[Prompt, str]]
"""Returns the prompt of a completion as the model saw it, and the name of the template that made it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsRequest:
    """What to sample, what to keep of it, and where both go."""

    sampling: SampleRequest
    selection: Selection
    out: Path
    samples: Path | None = None
    """File of all completions, which is gone on with; None has one beside ``out``, made with it."""
    overwrite: bool = False
    """Begin anew where files are there; a file that ``samples`` names stays."""

    @property
    def samples_file(self) -> Path:
        """Where all completions stand."""
        return self.out.with_name(f"{self.out.stem}.samples.jsonl") if self.samples is None else self.samples

    def settings(self) -> dict[str, Any]:
        """Return everything that decides a row. Any: JSON values."""
        chosen = {**asdict(self.selection), "keep": self.selection.kept}
        return {**self.sampling.settings(), "selection": chosen}


def sample_rows(request: RowsRequest, plugins: Plugins, tell: Tell) -> Summary:
    """Sample what is missing, write the chosen rows, and return a summary.

    Raises:
        ConfigError: a file is there that was made with other settings, or by something else.
        DataError: nothing is left to learn from.
        StoppedError: Ctrl-C was pressed; the same command goes on.
        RunError: the disk refuses a file, or another process writes it.
    """
    if request.selection.is_everything:
        if request.samples is not None:
            raise ConfigError("--samples has no effect where all samples are written to --out: leave it out.")
        return sample_to_file(request.sampling, request.out, plugins, overwrite=request.overwrite, tell=tell)
    found = _completed(request, plugins)
    anew = found.overwrite and found.samples is None
    _refuse_other_files(found, anew)
    loaded = sample_inputs(found.sampling, plugins)
    rows = sampled_rows(loaded, found.samples_file, plugins, overwrite=anew, tell=tell)[: loaded.num_rows]
    selected = _selected(found, rows)
    _write(found, selected, _prompts(loaded, plugins))
    return _summary(found, summarize_samples(rows, found.samples_file), selected)


def _completed(request: RowsRequest, plugins: Plugins) -> RowsRequest:
    """Return the request with the exact place of its model, and with what is right of each task."""
    usual = {task.label: passing_total(task.rewards, 0) for task in request.sampling.config.tasks}
    selection = replace(request.selection, usual=usual if request.selection.label == SCORE else {})
    return replace(request, sampling=request.sampling.resolved(plugins), selection=selection)


def _refuse_other_files(request: RowsRequest, anew: bool) -> None:
    """Refuse files that hold something else, before anything is loaded."""
    if request.out.resolve() == request.samples_file.resolve():
        raise ConfigError(f"--samples {request.samples_file}: that is --out too. Name two files.")
    refuse_other_file(request.out, request.settings(), request.overwrite)
    refuse_other_file(request.samples_file, request.sampling.settings(), anew, option="--samples")


def _selected(request: RowsRequest, rows: list[SampleRow]) -> Selected:
    try:
        return select(rows, request.selection)
    except DataError as error:
        raise DataError(f"{request.samples_file}: {error}") from None


def _prompts(loaded: SampleInputs, plugins: Plugins) -> PromptOf:
    """Return what makes the prompts of completions: whole problems, with the columns that rows do not hold."""
    config, limit = loaded.config, loaded.config.plugins.timeout_s
    problems = {(problem.task, problem.id): problem for problem in loaded.inputs.problems}
    names = {task.label: task.template for task in config.tasks}
    filled = {
        name: FilledTemplate(find_template(name, plugins), timeout_s=limit) for name in dict.fromkeys(names.values())
    }

    def prompt_of(row: SampleRow) -> tuple[Prompt, str]:
        problem = problems[row.task, row.problem_id]
        name = names[row.task] if isinstance(config.task, list) else config.template
        template = filled[name]
        return (template.messages(problem) if template.template.chat else template.filled(problem)), name

    return prompt_of


def _write(request: RowsRequest, selected: Selected, prompt_of: PromptOf) -> None:
    """Replace the file of rows, and the settings beside it."""
    schema = request.selection.schema
    records = [
        choice.row().model_dump(mode="json") if schema == "samples" else _row(choice, request.selection, prompt_of)
        for choice in selected.choices
    ]
    with disk_errors(request.out, "then give the command again: nothing is sampled twice."):
        request.out.parent.mkdir(parents=True, exist_ok=True)
        settings = encoded_settings(request.settings())
        write_together({settings_path(request.out): settings, request.out: jsonl.encode(records)})


def _row(choice: Choice, selection: Selection, prompt_of: PromptOf) -> Mapping[str, Any]:
    return finetuning_row(choice, selection, *prompt_of(choice.row()))


def _summary(request: RowsRequest, sampled: Summary, selected: Selected) -> Summary:
    counts, lengths, selection = selected.counts, selected.lengths, request.selection
    lines = [sampled.text, f"kept ({selection.schema}, {selection.kept}): {render_counts(counts)}"]
    if lengths.mean_difference is None:
        lines += [
            f"their completions have {lengths.mean:.1f} tokens on average, all samples {lengths.mean_of_samples:.1f}"
        ]
    else:
        lines += [
            f"the chosen completion is longer in {lengths.chosen_longer:.1%} of the pairs; it has "
            f"{lengths.mean_difference:+.1f} tokens on average"
        ]
    kept = {"schema": selection.schema, "keep": selection.kept, **asdict(counts), "lengths": asdict(lengths)}
    values = {"samples": sampled.values, "kept": kept, "file": str(request.out)}
    return Summary("\n".join([*lines, f"Rows: {request.out}"]), values)
