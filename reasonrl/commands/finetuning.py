"""``reasonrl sft``, ``dpo`` and ``kto``."""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import typer

from reasonrl.commands.arguments import EventsAsJson, Overrides
from reasonrl.commands.complete import checkpoints, run_directories, run_files
from reasonrl.commands.train import chosen_run, chosen_show, refuse_overwrite
from reasonrl.distributed.processes import is_launched
from reasonrl.errors import ConfigError
from reasonrl.system.stopping import INTERRUPTED

Method: TypeAlias = Literal["sft", "dpo", "kto"]

METHODS: Final[Mapping[Method, str]] = {
    "sft": "Train a policy by SFT on demonstrations: conversations, answers, worked solutions.",
    "dpo": "Train a policy by DPO on pairs of which one is preferred.",
    "kto": "Train a policy by KTO on completions that are good or bad.",
}
"""What the command of each method does."""


def command(method: Method) -> Callable[..., None]:
    """Return the command of a method."""

    def train(
        run: Annotated[
            str | None,
            typer.Argument(metavar="RUN", help="A recipe's name, or a run file.", autocompletion=run_files),
        ] = None,
        overrides: Overrides = None,
        resume: Annotated[
            Path | None, typer.Option(help="Continue a stopped run: its directory.", autocompletion=run_directories)
        ] = None,
        fork: Annotated[
            str | None, typer.Option(help="Start a new run from a checkpoint: DIR@STEP.", autocompletion=checkpoints)
        ] = None,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run of the same name.")] = False,
        show_row: Annotated[
            int | None, typer.Option(min=0, help="Print this row, counted from 0, with its mask, and train nothing.")
        ] = None,
        plain: Annotated[bool, typer.Option("--plain", help="One line a step, no colors.")] = False,
        as_json: EventsAsJson = False,
    ) -> None:
        options = {"overwrite": overwrite, "plain": plain, "as_json": as_json}
        _finetune(method, run, overrides, resume, fork, show_row, **options)

    train.__doc__ = METHODS[method]
    return train


def _finetune(
    method: Method,
    run: str | None,
    overrides: Sequence[str] | None,
    resume: Path | None,
    fork: str | None,
    show_row: int | None,
    *,
    overwrite: bool,
    plain: bool,
    as_json: bool,
) -> None:
    """Train, resume or fork a run of a method, or show one of its rows."""
    name, settings = chosen_run(run, overrides, resume, fork, example=f"reasonrl {method} RUN.yaml")
    if is_launched():
        raise ConfigError(
            f"reasonrl {method} learns in one process, but this one was launched as one of several: start it without "
            "torchrun or accelerate launch."
        )
    if show_row is not None:
        if not name:
            raise ConfigError("--show-row is for a new run: name a run file.")
        return _show(name, method, settings, show_row, as_json=as_json)
    show = chosen_show(plain, as_json)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

    from reasonrl.config.find import find_run

    path = find_run(name, method) if name else None

    from reasonrl.api import training

    # Any: each its own, as the functions take them
    started: dict[str, Any] = {"overwrite": overwrite, "command": sys.argv}
    given: dict[str, Any] = {"overrides": settings, "show": show, "kind": method}
    if path is not None:
        trained = training.train(path, **started, **given)
    elif resume is not None:
        refuse_overwrite(resume, overwrite)
        trained = training.resume(resume, **given)
    else:
        assert fork is not None, "chosen_run has seen to it"
        trained = training.fork(fork, **started, **given)
    raise typer.Exit(INTERRUPTED if trained.status == "interrupted" else 0)


def _show(name: str, method: Method, settings: Sequence[str], index: int, *, as_json: bool) -> None:
    """Print a row as the model learns it."""
    from reasonrl.config.find import find_run
    from reasonrl.config.finetune import FinetuneConfig
    from reasonrl.config.kinds import KINDS
    from reasonrl.config.runfile import load_settings
    from reasonrl.plugins.lookup import Plugins
    from reasonrl.run.finetune.show import shown_row

    config = load_settings(find_run(name, method), settings, KINDS[method].settings)
    assert isinstance(config, FinetuneConfig), "of a method"
    shown = shown_row(config, Plugins(), index)
    typer.echo(json.dumps(shown.record(), ensure_ascii=False) if as_json else shown.text())
