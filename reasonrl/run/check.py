"""Mistakes of a run that can be found without its data and its model, and before torch is imported."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from reasonrl.config.finetune import FinetuneConfig, SFTDataSettings
from reasonrl.config.kinds import AnyConfig, kind_of
from reasonrl.config.reward_model import RewardModelConfig, SampledPairs
from reasonrl.config.settings import PluginRef, RunConfig, SuiteRef
from reasonrl.config.suite_file import is_suite_file
from reasonrl.errors import ConfigError
from reasonrl.evaluation.suites import check_suite_file
from reasonrl.models import is_remote
from reasonrl.models.folder import context_length, require_model_folder
from reasonrl.plugins.builtin import TRACKERS
from reasonrl.plugins.hookspecs import GIVEN
from reasonrl.plugins.loading import Kind
from reasonrl.plugins.lookup import Plugins, check_params
from reasonrl.rollout.templates import find_template
from reasonrl.run.checkpoints import checkpoint_of
from reasonrl.run.distillation import check_teacher
from reasonrl.run.method import declared, require_fitting_estimator
from reasonrl.scoring.contract import load_reward
from reasonrl.system.extras import require_extra

if TYPE_CHECKING:
    from reasonrl.plugins.types import Suite


def check_trackers(config: AnyConfig, plugins: Plugins) -> None:
    """Refuse trackers whose parameters do not fit, or whose package is not installed.

    Raises:
        ReasonRLError: the first mistake.
    """
    for index, ref in enumerate(config.run.trackers):
        _require_params(plugins, "trackers", ref)
        if ref.name in TRACKERS:
            require_extra(ref.name, ref.name, f"run.trackers.{index}: {ref.name}")


def check_run(config: RunConfig, plugins: Plugins) -> None:
    """Refuse a run whose names, parameters or templates cannot be right.

    Raises:
        ReasonRLError: the first mistake.
    """
    for kind, ref in _references(config):
        _require_params(plugins, kind, ref)
    check_trackers(config, plugins)
    require_fitting_estimator(config, plugins)
    for task in config.tasks:
        find_template(task.template, plugins)
    for suite in config.evaluation.suites:
        if suite.template is not None:
            find_template(suite.template, plugins)


def _references(config: RunConfig) -> Iterator[tuple[Kind, PluginRef]]:
    """Yield what the run's own process calls; rewards have signatures of several styles, and are read with them."""
    yield from (("tasks", task.ref) for task in config.tasks)
    yield from (("suites", ref) for ref in config.evaluation.suites)
    yield "advantages", config.method.advantage
    yield "losses", config.method.loss
    yield "engines", config.rollout.engine
    yield from (("observers", ref) for ref in config.observers)


def _require_params(plugins: Plugins, kind: Kind, ref: PluginRef) -> None:
    """Refuse parameters that a plugin does not have; one that is not imported yet is judged by its source.

    Raises:
        PluginError: there is no such plugin, or a parameter does not fit.
    """
    if isinstance(ref, SuiteRef) and is_suite_file(ref.name):
        check_suite_file(ref, plugins)
        return
    if (function := declared(kind, ref.name, plugins)) is None:
        plugins.function(kind, ref)
        return
    beside = tuple(type(ref).model_fields)
    check_params(function, ref.params, given=GIVEN[kind], where=f"{kind}: {ref.name!r}", beside=beside)


def check_model(config: AnyConfig) -> None:
    """Refuse a model that cannot be loaded, or that could not see a whole completion.

    A resumed run has its model in its checkpoint, and needs no check.

    Raises:
        ModelError: there is none, or its files are not those of a model.
        ConfigError: completions may be longer than the model can see.
    """
    if isinstance(config, RunConfig):
        check_teacher(config)
    if is_remote(config.model.name):
        return
    require_model_folder(config.model.name, writes=not isinstance(config, RewardModelConfig))
    if not isinstance(config, RewardModelConfig):
        _require_room_for_completions(config)


def _require_room_for_completions(config: RunConfig | FinetuneConfig) -> None:
    limits = {
        f"evaluation.suites.{index}.max_new_tokens": suite.max_new_tokens or 0
        for index, suite in enumerate(config.evaluation.suites)
    }
    if isinstance(config, RunConfig):
        rollout = min(config.rollout.max_new_tokens, config.longest_completion)
        of_tasks = {f"{task.key}.max_new_tokens": task.max_new_tokens for task in config.tasks}
        limits = {"rollout.max_new_tokens": rollout, **of_tasks, **limits}
    for setting, tokens in limits.items():
        require_room(setting, tokens, context_length(config.model.name), config.model.name)
        require_room(setting, tokens, config.vllm.max_model_len, "vllm.max_model_len")


def require_room(setting: str, tokens: int, limit: int | None, whose: str) -> None:
    """Refuse completions for which, beside any prompt, there is no room.

    Raises:
        ConfigError: there is none.
    """
    if limit is not None and tokens >= limit:
        raise ConfigError(
            f"{setting} is {tokens}, but prompt and completion together can have {limit} tokens ({whose}): use fewer"
        )


def check_suite(suite: "Suite", plugins: Plugins) -> None:
    """Refuse a suite whose settings contradict each other or whose template is not there.

    Raises:
        ConfigError: several completions of a problem would all be the same.
        ModelError: there is no such template.
    """
    if suite.temperature == 0 and suite.num_samples > 1:
        raise ConfigError(
            f"suite {suite.name!r}: num_samples is {suite.num_samples}, but temperature is 0, so all would be the "
            "same: use num_samples: 1, or a temperature above 0"
        )
    for template in (suite.template, *suite.variants):
        find_template(template, plugins)


def check_finetune(config: FinetuneConfig, plugins: Plugins) -> None:
    """Refuse a run of SFT, DPO or KTO whose names, parameters or templates cannot be right, or that lacks TRL.

    Raises:
        ReasonRLError: the first mistake.
    """
    require_extra("trl", "trl", kind_of(config).command)
    find_template(config.template, plugins)
    _require_params(plugins, "engines", config.evaluation.engine)
    for ref in config.observers:
        _require_params(plugins, "observers", ref)
    check_trackers(config, plugins)
    if isinstance(config.data, SFTDataSettings) and config.data.task is not None:
        _require_params(plugins, "tasks", config.data.task)
    for suite in config.evaluation.suites:
        _require_params(plugins, "suites", suite)
        if suite.template is not None:
            find_template(suite.template, plugins)


def check_reward_model(config: RewardModelConfig, plugins: Plugins) -> None:
    """Refuse the training of a reward model whose names, parameters or templates cannot be right.

    Raises:
        ReasonRLError: the first mistake.
    """
    find_template(config.template, plugins)
    for ref in config.observers:
        _require_params(plugins, "observers", ref)
    check_trackers(config, plugins)
    if config.data.sampled is not None:
        _check_sampled(config.data.sampled, plugins)


def _check_sampled(sampled: SampledPairs, plugins: Plugins) -> None:
    _require_params(plugins, "tasks", sampled.task)
    load_reward(sampled.gold, plugins)
    find_template(sampled.template, plugins)
    if not is_remote(sampled.model):
        place = checkpoint_of(sampled.model)
        require_model_folder(place)
        require_room("data.sampled.max_new_tokens", sampled.max_new_tokens, context_length(place), sampled.model)
