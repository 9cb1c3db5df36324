"""What a run of SFT, DPO or KTO learns from: read, completed from tasks, mixed with bad answers, and counted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jinja2 import Environment, StrictUndefined, TemplateError

from reasonrl.config.finetune import FinetuneConfig, NegativeSettings, SFTDataSettings
from reasonrl.config.kinds import kind_of
from reasonrl.config.settings import PluginRef
from reasonrl.errors import ConfigError, DataError
from reasonrl.finetune.rows import Demonstration, JudgedCompletion, Row, row_digest, rows_digest
from reasonrl.finetune.schema import COLUMNS, negatives_of, rows_of
from reasonrl.plugins.lookup import Plugins
from reasonrl.preference.sources import read_rows
from reasonrl.run.tasks import load_problems
from reasonrl.types import Problem

SOLUTIONS: Final = ("solution", "worked_solution", "rationale", "answer")
"""Columns that may hold a problem's worked solution, the first that is there; ``answer`` where the answer was cut out
of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneData:
    """Rows, with what a reader should know of them."""

    source: str
    """Where they come from."""
    rows: tuple[Row, ...]
    summary: Mapping[str, int]
    """Counts: ``rows``, ``prompts``, and by method ``negatives``, or ``good`` and ``bad``."""
    digest: str
    """Stands for all rows in their order."""
    warnings: tuple[str, ...]

    @property
    def problems(self) -> list[Problem]:
        """What the rows ask, each prompt once."""
        return list({row.problem.id: row.problem for row in self.rows}.values())


def load_finetune_data(config: FinetuneConfig, plugins: Plugins) -> FinetuneData:
    """Read the rows of a run.

    Raises:
        ConfigError: a setting does not go with the source.
        DataError: a row cannot be used; the message has its place. Or there are none.
        PluginError: the task failed.
        UnreachableError: a data set cannot be loaded.
    """
    source, rows = _rows(config, plugins)
    if not rows:
        raise DataError(f"{source}: has no rows.")
    negatives = _negatives(config, len(rows))
    everything = (*rows, *negatives)
    return FinetuneData(
        source=source,
        rows=everything,
        summary=_summary(everything, len(negatives)),
        digest=rows_digest(everything),
        warnings=tuple(_warnings(config, everything)),
    )


def _rows(config: FinetuneConfig, plugins: Plugins) -> tuple[str, list[Row]]:
    data = config.data
    if isinstance(data, SFTDataSettings) and data.task is not None:
        return f"task {data.task.name!r}", list(_solved(data.task, data.completion, plugins))
    kind = kind_of(config).name
    source, read = read_rows(data, COLUMNS)
    return source, [row for where, columns in read for row in rows_of(kind, where, columns, config.template)]


# Worked solutions.


def _solved(task: PluginRef, completion: str, plugins: Plugins) -> Iterator[Demonstration]:
    """Yield the training problems of a task, completed by a Jinja text.

    Raises:
        ConfigError: the text is not Jinja.
        DataError: a problem lacks what the text uses.
    """
    try:
        template = Environment(undefined=StrictUndefined, keep_trailing_newline=True).from_string(completion)
    except TemplateError as error:
        raise ConfigError(f"data.completion: {type(error).__name__}: {error}") from None
    for problem in load_problems(task, plugins):
        try:
            text = template.render(problem=problem, answer=problem.answer, **_solution(problem))
        except TemplateError as error:
            held = ", ".join(problem.meta) or "nothing else"
            raise DataError(
                f"task {task.name!r}, problem {problem.id}: data.completion cannot be filled in: {error}. The problem "
                f"has an answer, and problem.meta has {held}."
            ) from None
        yield Demonstration(problem=problem, completion=text)


def _solution(problem: Problem) -> dict[str, str]:
    """Return the worked solution that a problem carries, if it does."""
    found = (problem.meta.get(name) for name in SOLUTIONS)
    return next(({"solution": text} for text in found if isinstance(text, str) and text.strip()), {})


# Bad answers.


def _negatives(config: FinetuneConfig, num_good: int) -> list[Demonstration]:
    """Return the bad answers that are learned beside, at most their share of all rows.

    Raises:
        DataError: there are none.
    """
    settings = config.data.negatives if isinstance(config.data, SFTDataSettings) else None
    if settings is None:
        return []
    source, read = _negative_rows(settings)
    found = [one for where, columns in read for one in negatives_of(where, columns, settings.system)]
    if not found:
        raise DataError(f"data.negatives: {source}: has no bad answers.")
    most = int(num_good * settings.max_share / (1 - settings.max_share))
    kept = {row_digest(one) for one in sorted(found, key=row_digest)[:most]}
    return [one for one in found if row_digest(one) in kept]


def _negative_rows(settings: NegativeSettings) -> tuple[str, Iterator[tuple[str, Mapping[str, Any]]]]:
    """Read them. Any: columns hold whatever the source does."""
    return read_rows(settings, COLUMNS)


# Counts and warnings.


def _summary(rows: Sequence[Row], num_negatives: int) -> dict[str, int]:
    counts = {"rows": len(rows), "prompts": len({row.problem.id for row in rows})}
    judged = [row for row in rows if isinstance(row, JudgedCompletion)]
    good = sum(row.is_good for row in judged)
    return {
        **counts,
        **({"good": good, "bad": len(judged) - good} if judged else {}),
        **({"negatives": num_negatives} if num_negatives else {}),
    }


def _warnings(config: FinetuneConfig, rows: Sequence[Row]) -> Iterator[str]:
    """Say what a reader of the run's figures should know of the data."""
    if repeated := len(rows) - len(set(map(row_digest, rows))):
        yield f"{repeated} rows are there more than once"
    if empty := sum(isinstance(row, Demonstration) and not row.completion.strip() for row in rows):
        yield f"{empty} completions are empty: the model learns to say nothing there"
    judged = [row.is_good for row in rows if isinstance(row, JudgedCompletion)]
    if judged and len(set(judged)) == 1:
        yield f"all completions are {'good' if judged[0] else 'bad'}: KTO learns from both"
