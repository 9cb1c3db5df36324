"""What ``accelerate launch`` and ``accelerate config`` ask for, as settings of a run: honored, or refused by name."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, suppress
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from reasonrl.distributed.environment import Launch
from reasonrl.errors import ConfigError

if TYPE_CHECKING:
    from reasonrl.config.base import Settings

Environment: TypeAlias = Mapping[str, str]

ENGINES: Final = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed (--use_deepspeed)",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM (--use_megatron_lm)",
    "ACCELERATE_USE_SAGEMAKER": "SageMaker",
}
"""Ways to learn that a run has not, by the variable that asks for them."""

_HONORED: Final = {
    "FSDP_RESHARD_AFTER_FORWARD": ("learner.parallel.reshard_after_forward", ("true", "false")),
    "FSDP_OFFLOAD_PARAMS": ("learner.parallel.cpu_offload", ("true", "false")),
    "FSDP_ACTIVATION_CHECKPOINTING": ("model.gradient_checkpointing", ("true",)),
}
"""Settings of accelerate's FSDP that a run has, with the values that it takes over; the others are its defaults."""

_ONLY: Final[Mapping[str, tuple[str, str]]] = {
    "FSDP_VERSION": ("2", "add --fsdp_version 2"),
    "FSDP_SHARDING_STRATEGY": ("FULL_SHARD|1", "use fsdp_reshard_after_forward: false for SHARD_GRAD_OP"),
    "FSDP_AUTO_WRAP_POLICY": ("TRANSFORMER_BASED_WRAP", "each layer of the model is divided by itself"),
    "FSDP_TRANSFORMER_CLS_TO_WRAP": (r"\w*(Layer|Block)(, *\w*(Layer|Block))*", "each layer is divided by itself"),
    "FSDP_BACKWARD_PREFETCH": ("BACKWARD_PRE", "FSDP2 gathers the next layer while one is computed"),
    "FSDP_FORWARD_PREFETCH": ("false", "FSDP2 gathers the next layer while one is computed"),
    "FSDP_STATE_DICT_TYPE": (
        "FULL_STATE_DICT|SHARDED_STATE_DICT",
        "a checkpoint is saved in parts by all ranks, and exported whole",
    ),
    "FSDP_USE_ORIG_PARAMS": ("true", "FSDP2 always keeps the model's own parameters"),
    "FSDP_ACTIVATION_CHECKPOINTING_OFFLOAD": ("false", "activations are recomputed or kept"),
    "FSDP_IGNORED_MODULES": ("", "all of the model is divided"),
}
"""What other settings of accelerate's FSDP may be, as a pattern, and why or what to do; the rest change nothing that is
computed."""

_PARALLELISM: Final = ("DP_REPLICATE_SIZE", "TP_SIZE", "CP_SIZE", "SP_SIZE")


def accelerate_settings(environ: Environment) -> dict[str, Any]:
    """Return the settings of a run that accelerate's environment asks for, by key. Any: their values.

    Raises:
        ConfigError: it asks for what no run can do.
    """
    _refuse_engines(environ)
    settings: dict[str, Any] = dict(_precision(environ))
    if _is_true(environ, "ACCELERATE_USE_CPU"):
        settings["model.device"] = "cpu"
    if _is_true(environ, "ACCELERATE_USE_FSDP"):
        settings |= _fsdp(environ)
    return settings


def _is_true(environ: Environment, name: str) -> bool:
    return environ.get(name, "").lower() in ("true", "1", "yes")


def _refuse_engines(environ: Environment) -> None:
    for name, engine in ENGINES.items():
        if _is_true(environ, name):
            raise ConfigError(f"accelerate asks for {engine}, which reasonrl has not: {_WAYS}")
    if environ.get("PJRT_DEVICE", "").upper().startswith("TPU") or "XLA_USE_BF16" in environ:
        raise ConfigError(f"accelerate asks for TPUs, on which reasonrl does not run: {_WAYS}")
    if (backend := environ.get("ACCELERATE_DYNAMO_BACKEND", "NO")).upper() != "NO":
        raise ConfigError(
            f"accelerate asks for dynamo_backend: {backend.lower()}; reasonrl compiles no model: leave it out."
        )
    for name in _PARALLELISM:
        if (size := environ.get(f"PARALLELISM_CONFIG_{name}", "1")) != "1":
            raise ConfigError(
                f"accelerate asks for parallelism_config_{name.lower()}: {size}; reasonrl divides a model among all "
                "processes (FSDP2) and nothing else: leave it out."
            )


_WAYS: Final = "use --multi_gpu, or --use_fsdp --fsdp_version 2."


def _precision(environ: Environment) -> Iterator[tuple[str, str]]:
    precision = environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if precision == "bf16":
        yield "model.compute_dtype", "bfloat16"
    elif precision != "no":
        raise ConfigError(
            f"accelerate asks for mixed_precision: {precision}; reasonrl computes in bf16 or float32: use "
            "--mixed_precision bf16 or no."
        )


def _fsdp(environ: Environment) -> dict[str, Any]:
    """Return the settings that accelerate's FSDP stands for. Any: their values."""
    for name, (pattern, remedy) in _ONLY.items():
        given = environ.get(name, "")
        if given and given != "None" and not re.fullmatch(pattern, given, re.IGNORECASE):
            raise ConfigError(f"accelerate asks for {name.lower()}: {given}, which reasonrl has not: {remedy}.")
    settings: dict[str, Any] = {"learner.parallel.strategy": "fsdp2"}
    for name, (key, values) in _HONORED.items():
        if (given := environ.get(name, "").lower()) in values:
            settings[key] = given == "true"
    return settings


def overrides_of(settings: Mapping[str, Any], config: "Settings") -> list[str]:
    """Return overrides of a run for what accelerate asks for. Any: values of settings.

    Args:
        settings: what it asks for, by key.
        config: the run; what it was given stands.

    Raises:
        ConfigError: the run was given something else.
    """
    overrides = []
    for key, wanted in settings.items():
        *groups, name = key.split(".")
        group, is_given = config, True
        for part in groups:
            is_given = is_given and part in group.model_fields_set
            group = getattr(group, part)
        found = getattr(group, name)
        if is_given and name in group.model_fields_set and found not in (wanted, "auto"):
            raise ConfigError(
                f"{key} is {_text(found)}, but accelerate was told {_text(wanted)} (accelerate launch, or accelerate "
                "config): give both the same, or leave one of them out."
            )
        if found != wanted:
            overrides.append(f"{key}={_text(wanted)}")
    return overrides


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def require_all_started(environ: Environment) -> None:
    """Refuse to be the only process of an ``accelerate launch`` that was asked for several.

    On CPUs, and with one GPU in sight, accelerate starts one and says nothing. What it leaves of the number is the
    address of a rank 0 that nobody needs, and its own command line.

    Raises:
        ConfigError: this is such a process.
    """
    if (
        "ACCELERATE_MIXED_PRECISION" not in environ
        or "MASTER_ADDR" not in environ
        or Launch.read(environ).num_ranks > 1
    ):
        return
    asked = _asked()
    if asked == 1:
        return
    number = "several" if asked is None else str(asked)
    ways = (
        "reasonrl train RUN --processes N, torchrun --nproc-per-node N -m reasonrl train RUN, or accelerate's "
        "mpirun_config"
    )
    raise ConfigError(
        f"accelerate launch was asked for {number} processes and has started one: on CPUs it starts more with mpirun "
        f"alone, and otherwise one for each GPU. Use {ways.replace(' N', f' {asked}') if asked else ways}."
    )


def _asked() -> int | None:
    """Return the processes that the parent, an ``accelerate launch``, was asked for; None where that is not seen."""
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    words: list[str] = []
    with suppress(OSError):
        words = Path(f"/proc/{os.getppid()}/cmdline").read_text().split("\0")[:-1]
    # `accelerate launch`, `accelerate-launch` or `python -m accelerate.commands.launch`
    start = next((at for at, word in enumerate(words) if word.removesuffix(".py").endswith("launch")), None)
    if start is None:
        return None
    words = words[start + 1 :]
    with suppress(SystemExit, OSError, ValueError), redirect_stderr(StringIO()):
        arguments, _ = launch_command_parser().parse_known_args(words)
        if arguments.num_processes is not None:
            return int(arguments.num_processes)
        return int(load_config_from_file(arguments.config_file).num_processes)
    return None
