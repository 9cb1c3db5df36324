"""A run in words: what it is when it begins, and what it achieved when it ends."""

from collections.abc import Mapping, Sequence

from reasonrl.config.algorithm import SHARING_ENGINE
from reasonrl.config.settings import RunConfig
from reasonrl.evaluation.compare import compare, render_comparison
from reasonrl.evaluation.files import read_result
from reasonrl.learner import Learner
from reasonrl.plugins.types import Suite
from reasonrl.run.build import RunComponents, RunLearner
from reasonrl.run.critic import critic_source
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.inputs import RunInputs


def run_facts(config: RunConfig, inputs: RunInputs, components: RunComponents) -> Mapping[str, str]:
    """Return what a person should know of a run that begins, by name."""
    parameters = list(components.learner.model.parameters())
    size, trainable = sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)
    share = "" if trainable == size else f", {trainable / 1e6:.2f} M of them trainable"
    return {
        "model": f"{config.model.name} ({size / 1e6:.1f} M parameters{share})",
        "device": f"{components.device}, {str(components.dtype).removeprefix('torch.')} products",
        "data": f"{len(inputs.problems)} training problems",
        **_importance(config),
        **_critic(config, components.learner),
        **components.rewards.notes,
    }


def _importance(config: RunConfig) -> Mapping[str, str]:
    """Return how completions are corrected for an engine whose weights are not the learner's own."""
    if config.rollout.engine.name == SHARING_ENGINE and config.method.importance == "none":
        return {}
    return {"importance": config.algorithm.describe_importance(config.rollout.engine.name)}


def _critic(config: RunConfig, learner: RunLearner) -> Mapping[str, str]:
    """Return where a critic comes from, and how large it is."""
    if isinstance(learner, Learner):
        return {}
    size = sum(parameter.numel() for parameter in learner.critic.model.parameters())
    alone = config.critic.pretrain_steps
    return {
        "critic": f"from {critic_source(config)} ({size / 1e6:.1f} M parameters)"
        + (f", learns alone until step {alone}" if alone else "")
    }


def summary(directory: RunDirectory, suites: Sequence[Suite], steps: int) -> str:
    """Return the comparison of the last evaluation with the one before the first of so many steps."""
    folders = [(directory.eval_folder(0, suite.name), directory.eval_folder(steps, suite.name)) for suite in suites]
    tables = [
        render_comparison(compare(read_result(base), read_result(trained)), "base", f"step {steps}")
        for base, trained in folders
    ]
    where = f"Run: {directory.path}   Checkpoint: {directory.path}/checkpoints/step_{steps:06d}"
    return "\n\n".join([*tables, where])
