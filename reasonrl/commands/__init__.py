"""The command line: parse, look up, call. A user's mistake ends in one message and an exit code."""

import errno
import gc
import os
import sys
from collections.abc import Mapping
from typing import Annotated, Final

import typer

from reasonrl import __version__
from reasonrl.commands import (
    compare,
    config,
    contamination,
    difficulty,
    evaluate,
    examine,
    export,
    finetuning,
    init,
    installed,
    kinds,
    leaderboard,
    models,
    pipeline,
    prompts,
    report,
    rescore,
    rm,
    runs,
    sample,
    tasks,
    train,
    view,
)
from reasonrl.commands.ranks import take_part
from reasonrl.distributed.watch import rank_watch
from reasonrl.errors import ReasonRLError, RunError
from reasonrl.plugins.leftovers import leave, leftovers
from reasonrl.system.stopping import INTERRUPTED, acknowledge_interrupts

FILE_ERRORS: Final[Mapping[int | None, str]] = {
    errno.ENOSPC: "Free some space and try again",
    errno.EDQUOT: "Free some of your space and try again",
    errno.EFBIG: "This file system, or a limit of this process (ulimit -f), allows no larger file",
    **dict.fromkeys((errno.EACCES, errno.EPERM), "Let this user read and write it, or name another place"),
    errno.EROFS: "Name another place: this one can only be read",
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP), "Name another place"),
    errno.ENAMETOOLONG: "Choose a shorter name",
}
"""What the system says of a file that a user named, or of the place where one would be, and what to do."""

COLLECTIONS_BETWEEN_FULL_ONES: Final = 100
"""Ten times as many as Python has: while libraries are imported, full collections of garbage find nothing else."""

app = typer.Typer(
    help="Reasoning RL with verifiable rewards: sample groups, score them with plugins, learn, measure held-out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(init.init)
app.command()(train.train)
for method in finetuning.METHODS:
    app.command(method)(finetuning.command(method))
app.command()(sample.sample)
app.command()(pipeline.pipeline)
app.command()(view.view)
app.command()(examine.plan)
app.command()(examine.doctor)
app.command("eval")(evaluate.evaluate)
app.command()(compare.compare)
app.command()(report.report)
app.command()(runs.status)
app.command()(runs.tail)
app.command()(runs.show)
app.command()(export.export)
app.command()(rescore.rescore)
app.command()(leaderboard.leaderboard)
app.command()(contamination.contamination)
app.command()(difficulty.difficulty)
app.add_typer(config.app, name="config")
app.add_typer(models.app, name="models")
app.add_typer(rm.app, name="rm")
app.add_typer(prompts.app, name="prompts")
app.add_typer(kinds.packages_app(app), name="plugins")
for _kind in kinds.KINDS:
    app.add_typer(tasks.APPS.get(_kind) or kinds.kind_app(_kind), name=_kind)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"reasonrl {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; an error of ours is one message on standard error."""
    # torch reads it once, at its first tensor: large pages save the time that page faults and address look-ups take.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    gc.set_threshold(*gc.get_threshold()[:2], COLLECTIONS_BETWEEN_FULL_ONES)
    acknowledge_interrupts()
    try:
        _run()
    except SystemExit as error:
        leave(error.code)
    except BaseException:
        if leftovers():  # else Python shows it and ends
            sys.excepthook(*sys.exc_info())
            leave(1)
        raise
    leave(0)


def _run() -> None:
    try:
        take_part(sys.argv[1:])
        installed.add_commands(app, sys.argv[1] if len(sys.argv) > 1 else "")
        app()
    except ReasonRLError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted.", INTERRUPTED)
    except OSError as error:
        if error.errno not in FILE_ERRORS:
            raise
        _fail(f"{error.filename or 'a file'}: {error.strerror}. {FILE_ERRORS[error.errno]}.", RunError.exit_code)


def _fail(message: str, code: int) -> None:
    typer.echo(f"error: {message}", err=True)
    if (watch := rank_watch()) is not None:
        watch.shown()
    sys.exit(code)
