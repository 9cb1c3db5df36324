"""A run in words: what it is when it begins, and what it achieved when it ends."""

from collections.abc import Mapping, Sequence

from reasonrl.config.algorithm import SHARING_ENGINE
from reasonrl.config.settings import RunConfig
from reasonrl.distributed.collectives import num_ranks
from reasonrl.evaluation.compare_text import render_comparison
from reasonrl.evaluation.figures import figures, label
from reasonrl.evaluation.files import read_measured
from reasonrl.evaluation.primaries import Model, Primary, compare_models, with_primaries
from reasonrl.evaluation.results import SuiteResult
from reasonrl.learner.critic import Critic
from reasonrl.plugins.types import Suite
from reasonrl.run.build import RunComponents
from reasonrl.run.computing import described
from reasonrl.run.critic import critic_source
from reasonrl.run.distillation import teacher_facts
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.inputs import RunInputs
from reasonrl.run.preregistration import primaries
from reasonrl.run.reward_beside_metric import scores_heldout


def run_facts(config: RunConfig, inputs: RunInputs, components: RunComponents) -> Mapping[str, str]:
    """Return what a person should know of a run that begins, by name."""
    parameters = list(components.learner.model.parameters())
    size, trainable = sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)
    share = "" if trainable == size else f", {trainable / 1e6:.2f} M of them trainable"
    return {
        "model": f"{config.model.name} ({size / 1e6:.1f} M parameters{share})",
        "device": f"{components.device}, {described(components.compute, components.learner.model)}",
        **_ranks(config, components.strategy),
        "data": f"{len(inputs.problems)} training problems{_tasks(inputs)}",
        **_importance(config),
        **_critic(config, components.critic),
        **teacher_facts(config),
        **_unasked(config, inputs),
        **components.rewards.notes,
    }


def _ranks(config: RunConfig, strategy: str) -> Mapping[str, str]:
    """Return how many processes there are, and which of them do what."""
    if strategy == "single":
        return {}
    if num_ranks() == 1:
        return {"processes": f"1 ({strategy})"}
    is_embedded = config.rollout.engine.name == SHARING_ENGINE
    samples = "each samples its share of the prompts" if is_embedded else "rank 0 has the prompts sampled"
    return {"processes": f"{num_ranks()} learn together ({strategy}); {samples}, and rank 0 has all completions scored"}


def _unasked(config: RunConfig, inputs: RunInputs) -> Mapping[str, str]:
    """Say why rewards do not score held-out completions, where the run file leaves that open."""
    is_open = inputs.suites and inputs.rewards and config.evaluation.rewards == "auto"
    if not is_open or scores_heldout(config, inputs.rewards):
        return {}
    asked = next(reward.name for reward in inputs.rewards if reward.is_async)
    return {"held-out": f"not scored by the rewards, as {asked!r} asks a service; evaluation.rewards: all does it"}


def _tasks(inputs: RunInputs) -> str:
    """Return what each task of a mixture has of them."""
    if len(inputs.tasks) == 1:
        return ""
    whole = sum(each.task.weight for each in inputs.tasks)
    return ": " + ", ".join(
        f"{each.task.label} {len(each.problems)} ({each.task.weight / whole:.0%} of a step)" for each in inputs.tasks
    )


def _importance(config: RunConfig) -> Mapping[str, str]:
    """Return how completions are corrected for an engine whose weights are not the learner's own."""
    if config.rollout.engine.name == SHARING_ENGINE and config.method.importance == "none":
        return {}
    return {"importance": config.algorithm.describe_importance(config.rollout.engine.name)}


def _critic(config: RunConfig, critic: Critic | None) -> Mapping[str, str]:
    """Return where a critic comes from, and how large it is."""
    if critic is None:
        return {}
    size = sum(parameter.numel() for parameter in critic.model.parameters())
    alone = config.critic.pretrain_steps
    return {
        "critic": f"from {critic_source(config)} ({size / 1e6:.1f} M parameters)"
        + (f", learns alone until step {alone}" if alone else "")
    }


def summary(directory: RunDirectory, config: RunConfig, suites: Sequence[Suite]) -> str:
    """Return the comparison of the last evaluation with the one before the first step.

    Figures that were not named beforehand are called exploratory.
    """
    steps = config.run.steps
    models = [_model(name, directory, suites, step) for name, step in (("base", 0), (f"step {steps}", steps))]
    named, missing = _measured(primaries(config), models)
    pairs = with_primaries(compare_models(models), named) if suites else ()
    tables = [render_comparison(pair.comparison, pair.a, pair.b) for pair in pairs]
    where = f"Run: {directory.path}   Checkpoint: {directory.path}/checkpoints/step_{steps:06d}"
    return "\n\n".join([*tables, *missing, where])


def _model(name: str, directory: RunDirectory, suites: Sequence[Suite], step: int) -> Model:
    folders = {suite.name: directory.eval_folder(step, suite.name) for suite in suites}
    return Model(name=name, measured={suite: read_measured(folder) for suite, folder in folders.items()})


def _measured(named: Sequence[Primary], models: Sequence[Model]) -> tuple[list[Primary], list[str]]:
    """Return the figures that can be compared, and what is to be said of the others."""
    found = {
        primary: all(primary.metric in _names(model.measured[primary.suite].result) for model in models)
        for primary in named
    }
    missing = [
        f"primary {primary.suite}/{primary.metric}: the results have no such figure; see `missing` in results.json"
        for primary, is_there in found.items()
        if not is_there
    ]
    return [primary for primary, is_there in found.items() if is_there], missing


def _names(result: SuiteResult) -> set[str]:
    return {name for one in figures(result) for name in (one, label(one, result.sampling.num_samples))}
