"""A command that a launcher has started in several processes: rank 0 runs it, the others follow."""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from reasonrl.distributed.accelerate_launch import accelerate_settings, overrides_of
from reasonrl.distributed.environment import launch
from reasonrl.distributed.processes import is_launched, launched_rank, lifeline
from reasonrl.distributed.terminal import silence, speak
from reasonrl.errors import ConfigError, RunError
from reasonrl.system.process_tree import end_with

if TYPE_CHECKING:
    from reasonrl.config.kinds import AnyConfig
    from reasonrl.config.settings import RunConfig

SHARED: Final = "train"
"""The command that several processes share."""
PATIENCE_S: Final = 30.0
"""Seconds that a rank with nothing to do waits for rank 0 to say why, before its own end makes the launcher end all."""


def take_part(arguments: Sequence[str]) -> None:
    """Become one of several processes where a launcher has started several; returns on rank 0 alone.

    Raises:
        ConfigError: the command is not for several.
    """
    if not is_launched():
        return
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # causes are told once, and not by torch
    if "TORCHELASTIC_RUN_ID" in os.environ:  # its own process has started this one, and may be killed
        end_with(os.getppid(), signal.SIGTERM)
    is_shared = [word for word in arguments if not word.startswith("-")][:1] == [SHARED]
    if launched_rank():
        silence()
        _follow() if is_shared else _stand_by()
    if not is_shared:
        raise ConfigError(
            f"{launch().num_ranks} processes were started, but only reasonrl {SHARED} is shared out among several: "
            "start this command in one."
        )


def _stand_by() -> NoReturn:
    time.sleep(PATIENCE_S)
    os._exit(ConfigError.exit_code)


def _follow() -> NoReturn:
    """Do what rank 0 asks for, until it ends this process."""
    try:
        line = lifeline()
    except RunError as error:
        speak(f"error: {error}")
        os._exit(error.exit_code)
    try:
        from reasonrl.config.learner import ParallelSettings
        from reasonrl.run.ranks import follow

        settings, device = line.told("join")
        follow(ParallelSettings.model_validate(settings), device)
    except BaseException as error:
        line.report(error)
    os._exit(0)


def launched_run(
    path: Path | None, resume: Path | None, fork: str | None, overrides: Sequence[str]
) -> "tuple[RunConfig, list[str]]":
    """Return the settings of the run that is to be trained, and the overrides with what accelerate was told.

    Args:
        path: the run file of a new run; else None.
        resume: the directory of a run that goes on.
        fork: the checkpoint that a run begins with.
        overrides: settings that were given.

    Raises:
        ConfigError: they are wrong, or accelerate was told something else.
    """
    from reasonrl.config.kinds import kind_of
    from reasonrl.config.runfile import load_settings, override_run
    from reasonrl.config.settings import RunConfig
    from reasonrl.run.changes import changed_config
    from reasonrl.run.files.directory import RunDirectory

    if path is not None:
        config: AnyConfig = load_settings(path, overrides, RunConfig)
    elif resume is not None:
        config = changed_config(RunDirectory.open(resume), overrides)
    else:
        assert fork is not None, "one of the three is given"
        config = override_run(RunDirectory.open(Path(fork.rpartition("@")[0] or fork)).config, overrides)
    if not isinstance(config, RunConfig):
        found, option = kind_of(config), f"--resume {resume}" if resume else f"--fork {fork}"
        raise ConfigError(f"{resume or fork} trains {found.trains}, not a policy: use {found.command} {option}")
    told = overrides_of(accelerate_settings(os.environ), config)
    return override_run(config, told), [*overrides, *told]
