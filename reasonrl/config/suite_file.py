"""A held-out suite as a YAML file, wherever the name of a suite may stand, and files of several suites."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from reasonrl.config.base import PluginRef, Settings
from reasonrl.config.evaluation import refuse_equal_samples
from reasonrl.config.runfile import from_options, load_settings
from reasonrl.config.settings import SuiteRef
from reasonrl.config.yaml import read_mapping
from reasonrl.errors import ConfigError, PluginError, and_known
from reasonrl.system.text import read_text

SUFFIXES: Final = (".yaml", ".yml")


class SuiteSource(Settings):
    """Where the problems of a suite come from: the held-out split of a task, or a file."""

    task: str | None = None
    """A task: an installed name, ``./file.py:function`` or ``package.module:function``."""
    params: dict[str, Any] = Field({})
    """Parameters of the task. Any: their types are the task's."""
    file: str | None = None
    """A file with one JSON object a line, or Parquet by its name, with the columns below."""
    question: str = "question"
    """Column of the question in ``file``."""
    answer: str = "answer"
    """Column of the answer in ``file``."""
    answer_pattern: str | None = None
    r"""Regular expression whose one group is the answer within its column, such as ``####\s*(.+)``."""
    messages: str | None = None
    """Column of a conversation in ``file``, read in place of ``question``."""

    @model_validator(mode="after")
    def _require_one(self) -> Self:
        """Hold that the problems come from one place, and that nothing is ignored."""
        if (self.task is None) == (self.file is None):
            raise ValueError("give either task, with its params, or file")
        columns = {"question", "answer", "answer_pattern", "messages"}
        if self.task is not None and (ignored := sorted(columns & self.model_fields_set)):
            raise ValueError(f"{ignored[0]} is a column of file, and there is a task: write what it takes under params")
        if self.file is not None and self.params:
            raise ValueError("params are those of a task, and there is a file")
        return self

    def loaded_as(self) -> tuple[str, dict[str, Any]]:
        """Return the task that reads the problems, with its parameters. Any: their types are the task's."""
        if self.task is not None:
            return self.task, self.params
        assert self.file is not None, "held when it was read"
        columns = {name: getattr(self, name) for name in ("question", "answer", "answer_pattern", "messages")}
        return "parquet" if self.file.endswith(".parquet") else "jsonl", {"path": self.file, **columns}


class SuiteSampling(Settings):
    """How the completions of a suite are sampled."""

    max_new_tokens: int = Field(ge=1)
    """Longest completion."""
    num_samples: int = Field(1, ge=1)
    """Completions of each problem."""
    temperature: float = Field(0.0, ge=0)
    """Sampling temperature; 0 is greedy decoding."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Draw from the fewest most probable tokens whose probabilities reach this sum; 1 draws from all."""
    stop: list[Annotated[str, Field(min_length=1)]] = Field([])
    """Strings that end a completion."""

    @model_validator(mode="after")
    def _refuse_equal_samples(self) -> Self:
        """Refuse several samples of one problem that could not differ."""
        refuse_equal_samples(self.num_samples, self.temperature)
        return self


class SuiteLimits(Settings):
    """What measuring may take."""

    metric_timeout_s: float | None = Field(None, gt=0)
    """Longest time in seconds that a metric may run on one completion; null leaves it to the run."""


class SuiteFile(Settings):
    """Held-out problems with everything that decides a figure measured on them."""

    suite: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """The suite's name."""
    description: str = ""
    """A sentence about it."""
    version: int = Field(1, ge=1)
    """Grows when a change makes figures that cannot be compared with earlier ones."""
    role: Literal["valid", "test"] = "valid"
    """``valid`` may choose a checkpoint; ``test`` may not."""
    source: SuiteSource
    """Where the problems come from."""
    template: str = "chat"
    """Prompt template: an installed one, or the path of a Jinja file."""
    variants: list[str] = Field([])
    """Further templates, measured beside it by ``reasonrl eval --variants``."""
    sampling: SuiteSampling
    """How completions are sampled."""
    metric: PluginRef
    """What the figure is the mean of: an installed metric or ``./file.py:function``, with params."""
    sources: list[str] | None = None
    """Where the metric looks for the answer, in this order: its parameter ``sources``."""
    further_metrics: dict[str, PluginRef] = Field({})
    """Metrics applied beside it, by the names that their figures have."""
    equal_answers: str | None = None
    """What maj@k counts equal answers by: ``./file.py:function`` or ``package.module:function`` of two texts; null
    compares them as texts."""
    cluster: str | None = None
    """Column whose equal values mark problems that belong together."""
    limits: SuiteLimits = SuiteLimits()
    """What measuring may take."""

    @model_validator(mode="after")
    def _refuse_repeated(self) -> Self:
        """Refuse what would be measured twice, or said twice."""
        if self.template in self.variants:
            raise ValueError(f"variants: {self.template!r} is the template already")
        if self.sources is not None and "sources" in self.metric.params:
            raise ValueError("sources is given, and among the params of metric: leave one of them out")
        return self

    def with_params(self, params: Mapping[str, Any], where: str) -> Self:
        """Return the suite with other parameters of its task; ``data`` replaces a file. Any: the task's own.

        Raises:
            PluginError: the suite has a file, and the parameters are others.
        """
        if not params:
            return self
        source = self.source
        if source.task is not None:
            changed = source.model_copy(update={"params": {**source.params, **params}})
        elif unknown := sorted(set(params) - {"data"}):
            raise PluginError(f"suites: {where!r}: unknown parameter {unknown[0]!r}.{and_known(unknown[0], ['data'])}")
        else:
            changed = source.model_copy(update={"file": str(params["data"])})
        return self.model_copy(update={"source": changed})


class SuiteList(Settings):
    """Suites by name, each with what replaces its own settings."""

    suites: list[SuiteRef] = Field(min_length=1)
    """As in a run file's ``evaluation.suites``."""


def is_suite_file(name: str) -> bool:
    """Say whether a suite's name is the path of a YAML file."""
    return name.endswith(SUFFIXES)


def read_suite_file(name: str) -> SuiteFile:
    """Read a suite; paths in it are taken from its own folder where they are there, else from the current one.

    Raises:
        ConfigError: the file cannot be read, or one line for each mistake in it.
    """
    path = Path(name)
    file = load_settings(path, (), SuiteFile, "the suite file")
    source, metric = file.source, file.metric
    if source.file is not None:
        source = source.model_copy(update={"file": _beside(path, source.file)})
    return file.model_copy(
        update={
            "source": source,
            "metric": _function_beside(path, metric),
            "further_metrics": {key: _function_beside(path, ref) for key, ref in file.further_metrics.items()},
            "template": _beside(path, file.template),
            "variants": [_beside(path, template) for template in file.variants],
            "equal_answers": None if file.equal_answers is None else _reference_beside(path, file.equal_answers),
        }
    )


def _beside(file: Path, name: str) -> str:
    """Return the path of what stands beside a suite file, from the current folder; any other name as it is."""
    found = file.parent / name
    return os.path.relpath(found) if found.is_file() and not Path(name).is_absolute() else name


def _reference_beside(file: Path, reference: str) -> str:
    place, colon, name = reference.rpartition(":")
    return f"{_beside(file, place)}:{name}" if colon and place.endswith(".py") else reference


def _function_beside(file: Path, ref: PluginRef) -> PluginRef:
    return ref.model_copy(update={"name": _reference_beside(file, ref.name)})


def suite_refs(
    names: Sequence[str], *, params: Mapping[str, Any], settings: Mapping[str, object]
) -> tuple[SuiteRef, ...]:
    """Return the suites that a command names, each with the command's options.

    Args:
        names: of suites; ``FILE.yaml`` is a suite or several (``suites:``), ``FILE.yaml:NAME`` one of several.
        params: of every suite. Any: the suites' own.
        settings: what replaces the suites' own, by the names of :class:`SuiteRef`.

    Raises:
        ConfigError: a file cannot be read or does not have the suite, or one line for each mistake.
    """
    listed = [ref.model_dump(exclude_unset=True) for name in names for ref in _listed(name)]
    merged = [{**ref, **settings, "params": {**ref.get("params", {}), **params}} for ref in listed]
    return tuple(from_options(SuiteRef, **ref) for ref in merged)


def _listed(name: str) -> Sequence[SuiteRef]:
    """Return the suites that a name means."""
    place, colon, wanted = name.rpartition(":")
    if colon and is_suite_file(place):
        refs = _read_list(Path(place))
        if not (found := [ref for ref in refs if ref.name == wanted]):
            raise ConfigError(f"{place}: has no suite {wanted!r}.{and_known(wanted, [ref.name for ref in refs])}")
        return found
    if is_suite_file(name) and "suites" in _keys(Path(name)):
        return _read_list(Path(name))
    return [from_options(SuiteRef, name=name)]


def _keys(path: Path) -> Mapping[str, Any]:
    """Return the top-level keys of a file. Any: whatever YAML can say."""
    return read_mapping(read_text(path, ConfigError, "the suite file"), path, "a suite file")[0]


def _read_list(path: Path) -> Sequence[SuiteRef]:
    return load_settings(path, (), SuiteList, "the file of suites").suites
