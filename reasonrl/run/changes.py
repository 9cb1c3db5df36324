"""What may change in a run that is resumed, what has changed although it may not, and what becomes of its schedule."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from reasonrl import __version__
from reasonrl.config.kinds import AnyConfig
from reasonrl.config.runfile import dump_run, override_run
from reasonrl.config.settings import RunConfig
from reasonrl.errors import ConfigError, RunError
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.recorded import Flat, flat_settings
from reasonrl.types import digest

CHANGEABLE: Final = (
    "run.steps",
    "run.epochs",
    "run.checkpoint_every",
    "run.keep_checkpoints",
    "run.rollouts_every",
    "run.trackers",
    "run.metric_names",
    "evaluation.every",
    "evaluation.max_concurrent",
    "evaluation.rewards",
    "evaluation.beside_learning",
    "learner.schedule_steps",
    "learner.parallel",
    "alarms",
    "rollout.timeout_s",
    "rollout.token_entropy",
    "rollout.verify_every",
    "scoring.workers",
    "scoring.timeout_s",
    "scoring.metric_timeout_s",
    "scoring.memory_mib",
    "scoring.max_failure_rate",
    "plugins.timeout_s",
    "distillation.max_concurrent",
    "distillation.timeout_s",
    "distillation.vllm.gpu_memory_utilization",
    "distillation.vllm.start_timeout_s",
    "vllm.gpu_memory_utilization",
    "vllm.start_timeout_s",
    "vllm.urls",
    "vllm.weights_folder",
    "description",
)
"""Settings, and groups of them, that a resumed run may change: its length, limits, frequencies, and where things are.
None of them changes what a step computes."""

ABSENT: Final = "not there"
"""Stands for the value of a setting that another version does not have."""


def is_changeable(key: str) -> bool:
    """Say whether a resumed run may change a setting."""
    return any(key == known or key.startswith(f"{known}.") for known in CHANGEABLE)


def changed_config(run: RunDirectory, overrides: Sequence[str]) -> AnyConfig:
    """Return the settings of a run with those that were given for its continuation.

    Raises:
        ConfigError: one of them is unknown, or cannot change in a run that goes on.
    """
    config = override_run(run.config, overrides)
    given = {override.partition("=")[0]: override for override in overrides}
    changed = different(flat_settings(run.config), flat_settings(config))
    for key in (*given, *changed):
        of = next((override for name, override in given.items() if key == name or key.startswith(f"{name}.")), key)
        is_group = any(known.startswith(f"{key}.") for known in CHANGEABLE)
        if not is_changeable(key) and not (key in given and is_group):
            raise ConfigError(_unchangeable(run, key, of))
    return config


def _unchangeable(run: RunDirectory, key: str, override: str) -> str:
    known = set(flat_settings(run.config))
    allowed = [name for name in CHANGEABLE if any(each == name or each.startswith(f"{name}.") for each in known)]
    return (
        f"{key} cannot change in a run that is resumed: its steps would no longer be those of one run. To change it, "
        f"fork the run: {run.kind.command} --fork {run.path}@STEP name=NEW {override}. What can change are length, "
        f"limits and frequencies: {', '.join(allowed)}."
    )


def began_with(run: RunDirectory) -> Flat:
    """Return the settings that a run has gone on with until now, by the manifest where that has them.

    A kill while they were changed may have left the file ahead of the manifest.
    """
    recorded = run.manifest.settings or {}
    return {key: recorded.get(key, value) for key, value in flat_settings(run.config).items()}


def different(then: Flat, now: Flat) -> dict[str, tuple[Any, Any]]:
    """Return what two mappings differ in, with the value then and now. Any: JSON values."""
    keys = list(dict.fromkeys((*then, *now)))
    pairs = {key: (then.get(key, ABSENT), now.get(key, ABSENT)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def require_unchanged(run: RunDirectory, now: Flat, overrides: Sequence[str]) -> None:
    """Refuse to go on with a run that would not be the one that began.

    Args:
        run: as it stands on disk.
        now: everything that would decide it now, with the overrides applied.
        overrides: settings that were given for its continuation, which may differ.

    Raises:
        RunError: something else differs; the message names each key.
    """
    then = run.manifest.settings
    if then is None:  # it was begun by a version that kept the digest alone
        if _is_edited(run):
            raise RunError(f"{_edited(run)} {_remedy(run)}")
        return
    given = [override.partition("=")[0] for override in overrides]
    found = {
        key: pair
        for key, pair in different(then, now).items()
        if not any(key == name or key.startswith(f"{name}.") for name in given)
        and not (pair[0] == ABSENT and is_changeable(key))
    }
    if found:
        raise RunError("\n".join(_complaint(run, found)))


def _complaint(run: RunDirectory, found: Mapping[str, tuple[Any, Any]]) -> Iterator[str]:
    """Yield what differs, why it may, and what to do. Any: JSON values."""
    yield f"{run.path} would not go on as the run that began there:"
    yield from (f"  {key}: {then!r} when it began, {now!r} now" for key, (then, now) in found.items())
    yield _edited(run) if _is_edited(run) else _upgraded(run)
    for key, (_, now) in found.items():
        if is_changeable(key):
            yield f"To change {key}: {run.kind.command} --resume {run.path} {key}={now}"
    yield _remedy(run)


def _is_edited(run: RunDirectory) -> bool:
    text = (run.path / "config.resolved.yaml").read_text(encoding="utf-8")
    return run.manifest.config_sha not in (digest(text), digest(dump_run(run.config)))


def _edited(run: RunDirectory) -> str:
    return f"{run.path / 'config.resolved.yaml'} was edited after the run began."


def _upgraded(run: RunDirectory) -> str:
    began = run.manifest.environment.get("reasonrl", "unknown")
    return (
        f"The run began with reasonrl {began}, and this is reasonrl {__version__}: a version of it or of a plugin with "
        "other defaults, or other data."
    )


def _remedy(run: RunDirectory) -> str:
    return (
        "Put back what the run began with, or train on from its checkpoint as a run of its own: "
        f"{run.kind.command} --fork {run.path}@STEP name=NEW"
    )


def schedule_note(config: AnyConfig, done: int, num_steps: int) -> str:
    """Say what the learning rate is from here on, in a run whose length has changed.

    It is a function of the step and of the length of the schedule, so a constant one goes on and another one is that
    of the new length.

    Args:
        config: the run.
        done: steps done.
        num_steps: its length now.
    """
    from reasonrl.learner.optimizer import learning_rate_at

    learner = config.learner
    alone = config.critic.pretrain_steps if isinstance(config, RunConfig) else 0
    length = learner.schedule_length(num_steps)
    rate = learning_rate_at(max(0, done - alone), length - alone, learner)
    if learner.schedule == "constant":
        return f"learning rate: constant, so it goes on: {rate:.3g} at step {done + 1}"
    kept = "as before (learner.schedule_steps)" if learner.schedule_steps else "from here on, the run's new length"
    over = "; it is over, so nothing more is learned" if rate == 0 else ""
    return f"learning rate: {learner.schedule} over {length} steps {kept}: {rate:.3g} at step {done + 1}{over}"
