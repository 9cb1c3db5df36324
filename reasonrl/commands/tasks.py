"""``reasonrl tasks``: list, show and check tasks and suites, and compare training problems with held-out ones."""

import json
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from reasonrl.commands.arguments import AsJson

CHECK_FAILED: Final = 4
"""Exit code where a task or suite is at fault."""

Name = Annotated[str, typer.Argument(help="A name, NAME:VALUE, or ./file.py:function.")]
Params = Annotated[list[str] | None, typer.Option("--param", help="A parameter: name=value; may repeat.")]
Data = Annotated[str | None, typer.Option(help="File or folder with the data, in place of the hub.")]

app = typer.Typer(help="The installed tasks: problems to train on.", no_args_is_help=True)
suites_app = typer.Typer(
    help="The installed suites: held-out problems with a metric. Check one with: reasonrl tasks check NAME.",
    no_args_is_help=True,
)


@app.command("list")
def list_tasks() -> None:
    """List the tasks, their owners, what is known of published data, and plugins that failed."""
    from reasonrl.commands.plugins import list_plugins

    typer.echo(list_plugins("tasks"))


@suites_app.command("list")
def list_suites() -> None:
    """List the suites, their owners, what is known of published data, and plugins that failed."""
    from reasonrl.commands.plugins import list_plugins

    typer.echo(list_plugins("suites"))


NumShown = Annotated[int, typer.Option("-n", "--num-problems", min=0, help="Problems to show; 0 loads no data.")]
Template = Annotated[str | None, typer.Option(help="Another prompt template than the suite's.")]
Model = Annotated[str | None, typer.Option(help="A model whose tokenizer makes the prompts.")]


@app.command("show")
def show_task(
    name: Name,
    num_problems: NumShown = 0,
    split: Annotated[Literal["train", "heldout"], typer.Option(help="Which problems to show.")] = "train",
    params: Params = None,
    data: Data = None,
    template: Template = None,
    model: Model = None,
) -> None:
    """Print a task with its parameters and documentation, and some of its problems as a model sees them."""
    _show("tasks", name, num_problems, split, params, data, template, model)


@suites_app.command("show")
def show_suite(
    name: Name,
    num_problems: NumShown = 0,
    params: Params = None,
    data: Data = None,
    template: Template = None,
    model: Model = None,
) -> None:
    """Print a suite with its parameters and documentation, and some of its problems as a model sees them."""
    _show("suites", name, num_problems, "heldout", params, data, template, model)


def _show(
    kind: Literal["tasks", "suites"],
    name: str,
    num_problems: int,
    split: Literal["train", "heldout"],
    params: list[str] | None,
    data: str | None,
    template: str | None,
    model: str | None,
) -> None:
    from reasonrl.commands.plugins import show
    from reasonrl.config.runfile import parse_params
    from reasonrl.errors import ConfigError
    from reasonrl.plugins.lookup import Plugins
    from reasonrl.run.task_show import show_problems

    plugins = Plugins()
    typer.echo(show(kind, name, plugins))
    if not num_problems and (params or data or template or model):
        raise ConfigError("--param, --data, --template and --model are of the problems shown: add -n 3.")
    if num_problems:
        shown = show_problems(
            *(kind, name),
            num_problems=num_problems,
            split=split,
            params=parse_params(params),
            data=data,
            template=template,
            model=model,
            plugins=plugins,
        )
        typer.echo(f"\n{shown}")


@app.command("check")
def check(
    name: Annotated[
        list[str] | None,
        typer.Argument(help="Tasks or suites; reasoning_gym is all of its generators. None: all installed."),
    ] = None,
    reward: Annotated[str | None, typer.Option(help="Score with this reward in place of the suite's metric.")] = None,
    params: Params = None,
    data: Data = None,
    num_problems: Annotated[
        int, typer.Option(min=1, help="Problems of each side that replies are made for, evenly spread over it.")
    ] = 100,
    all_problems: Annotated[bool, typer.Option("--all", help="Make replies for all problems.")] = False,
    model: Annotated[str | None, typer.Option(help="Count the tokens of prompts with this model's tokenizer.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes; usually all cores but one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check a task, a suite, or both of one name. Exit code 4 where anything is wrong.

    Right answers must score 1; empty replies 0; the answer to another problem and a mangled one less than 1. Ids must
    be unique and equal on a second load; training and held-out problems must be apart.
    """
    from reasonrl.config.runfile import parse_params
    from reasonrl.config.settings import ScoringSettings
    from reasonrl.run.task_checks import check_tasks

    checked = check_tasks(
        name or (),
        reward=reward,
        params=parse_params(params),
        data=data,
        num_problems=None if all_problems else num_problems,
        model=model,
        settings=ScoringSettings(workers=workers),
        tell=(lambda _: None) if as_json else typer.echo,
    )
    typer.echo(json.dumps(checked.as_json(), indent=2, ensure_ascii=False) if as_json else checked.summary)
    raise typer.Exit(0 if checked.is_passed else CHECK_FAILED)


@app.command("overlap")
def overlap(
    train: Annotated[str, typer.Argument(metavar="TASK", help="The task that is trained on.")],
    heldout: Annotated[str, typer.Argument(metavar="SUITE", help="The suite that is held out.")],
    train_params: Annotated[list[str] | None, typer.Option("--train-param", help="Of the task: name=value.")] = None,
    params: Annotated[list[str] | None, typer.Option("--param", help="Of the suite: name=value.")] = None,
    train_data: Annotated[str | None, typer.Option(help="File or folder with the task's data.")] = None,
    data: Annotated[str | None, typer.Option(help="File or folder with the suite's data.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write what was found to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find held-out problems that are training problems, as a run does. Exit code 3 where it would be refused."""
    from reasonrl.config.runfile import parse_params
    from reasonrl.errors import OverlapError
    from reasonrl.run.task_show import compare_sides

    found, is_refused = compare_sides(
        *(train, heldout),
        train_params=parse_params(train_params, "--train-param"),
        params=parse_params(params),
        train_data=train_data,
        data=data,
        out=out,
    )
    typer.echo(found.printed(as_json))
    raise typer.Exit(OverlapError.exit_code if is_refused else 0)


APPS: Final = {"tasks": app, "suites": suites_app}
"""The commands of these kinds of plugins, in place of the usual ones."""
