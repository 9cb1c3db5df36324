"""Suites of YAML files, and what a run file changes about a suite."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

from reasonrl.config.base import PluginRef
from reasonrl.config.settings import SuiteRef
from reasonrl.config.suite_file import SuiteFile, read_suite_file
from reasonrl.errors import DataError, ModelError, PluginError
from reasonrl.plugins.hookspecs import GIVEN
from reasonrl.plugins.lookup import Plugins, check_params
from reasonrl.plugins.types import AnswersEqual, LoadHeldout, MetricFn, Suite
from reasonrl.rollout.templates import find_template

OVERRIDES: Final = tuple(name for name in SuiteRef.model_fields if name not in PluginRef.model_fields)
"""Fields of a suite that may be set beside its name."""

Found = TypeVar("Found")


def with_overrides(suite: Suite, ref: SuiteRef) -> Suite:
    """Return the suite with the settings that stand beside its name; null leaves the suite's own."""
    given = {name: getattr(ref, name) for name in OVERRIDES}
    return replace(suite, **{name: value for name, value in given.items() if value is not None})


def suite_of_file(ref: SuiteRef, plugins: Plugins, load: LoadHeldout) -> Suite:
    """Return the suite that a YAML file declares, with its problems.

    Args:
        ref: the file's path as its name; its params are those of the source's task.
        plugins: where metrics come from.
        load: gives held-out problems of a task.

    Raises:
        ConfigError: one line for each mistake in the file.
        PluginError: a task or a metric is not there, or its parameters do not fit.
        ModelError: a template is not there.
        DataError: the problems cannot be read.
    """
    file = read_suite_file(ref.name).with_params(ref.params, ref.name)
    task, params = file.source.loaded_as()
    _check_templates(file, ref.name, plugins)
    problems = _named(ref.name, "source", lambda: load(task, **params))
    return Suite(
        name=file.suite,
        version=file.version,
        role=file.role,
        problems=problems,
        template=file.template,
        variants=tuple(file.variants),
        cluster=file.cluster,
        metric_timeout_s=file.limits.metric_timeout_s,
        max_new_tokens=file.sampling.max_new_tokens,
        num_samples=file.sampling.num_samples,
        temperature=file.sampling.temperature,
        top_p=file.sampling.top_p,
        stop=tuple(file.sampling.stop),
        **_functions(file, ref.name, plugins),
    )


def check_suite_file(ref: SuiteRef, plugins: Plugins) -> None:
    """Refuse a suite file whose names or parameters cannot be right, without reading its problems.

    Raises:
        ConfigError: one line for each mistake in the file.
        PluginError: a task or a metric is not there, or its parameters do not fit.
    """
    file = read_suite_file(ref.name).with_params(ref.params, ref.name)
    task, params = file.source.loaded_as()
    function = _named(ref.name, "source", lambda: plugins.find("tasks", task).function)
    where = f"tasks: {task!r}"
    _named(ref.name, "source", lambda: check_params(function, params, given=GIVEN["tasks"], where=where))
    _check_templates(file, ref.name, plugins)
    _functions(file, ref.name, plugins)


def _check_templates(file: SuiteFile, where: str, plugins: Plugins) -> None:
    _named(where, "template", lambda: find_template(file.template, plugins))
    for index, template in enumerate(file.variants):
        _named(where, f"variants.{index}", partial(find_template, template, plugins))


def _functions(file: SuiteFile, where: str, plugins: Plugins) -> dict[str, Any]:
    """Return the functions of a suite, by its fields. Any: of several kinds."""
    sources = {} if file.sources is None else {"sources": file.sources}
    metric = file.metric.model_copy(update={"params": {**file.metric.params, **sources}})
    equal = file.equal_answers
    return {
        "metric": _named(where, "metric", lambda: _metric(plugins, metric)),
        "further_metrics": _further_metrics(file, where, plugins),
        "equal_answers": None if equal is None else _named(where, "equal_answers", lambda: _equality(plugins, equal)),
    }


def _further_metrics(file: SuiteFile, where: str, plugins: Plugins) -> Mapping[str, MetricFn]:
    def find(name: str, ref: PluginRef) -> MetricFn:
        return _named(where, f"further_metrics.{name}", lambda: _metric(plugins, ref))

    return {name: find(name, ref) for name, ref in file.further_metrics.items()}


def _metric(plugins: Plugins, ref: PluginRef) -> MetricFn:
    return plugins.find_metric(ref.name, **ref.params)


def _equality(plugins: Plugins, reference: str) -> AnswersEqual:
    equal: AnswersEqual = plugins.find("metrics", reference).function
    return equal


def _named(file: str, key: str, find: Callable[[], Found]) -> Found:
    """Find something that a suite file names; an error says where it stands.

    Raises:
        PluginError: as the search; so are the other errors.
        DataError: as above.
        ModelError: as above.
    """
    try:
        return find()
    except (PluginError, DataError, ModelError) as error:
        raise type(error)(f"{file}: {key}: {error}") from error
