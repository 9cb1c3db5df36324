"""``reasonrl config``."""

import json
from typing import Annotated, Literal

import typer

from reasonrl.commands.arguments import Overrides, RunFile, find_run

app = typer.Typer(help="Show, explain and describe run files.", no_args_is_help=True)

KindOption = Annotated[Literal["policy", "reward_model"], typer.Option(help="What the run file trains.")]


@app.command()
def show(run: RunFile, overrides: Overrides = None) -> None:
    """Print a run with every default filled in."""
    from reasonrl.config.runfile import dump_run, load_any

    typer.echo(dump_run(load_any(find_run(run), overrides or [])), nl=False)


@app.command()
def explain(
    setting: Annotated[str, typer.Argument(help="Such as learner or learner.learning_rate.")] = "",
    kind: KindOption = "policy",
) -> None:
    """Say what a setting, or each setting of a group, means."""
    from reasonrl.config.runfile import explain_setting

    for name, of, default, sentence in explain_setting(setting, kind):
        typer.echo(f"{name}: {of}{f' = {default}' if default else ''}\n    {sentence}")


@app.command()
def schema(kind: KindOption = "policy") -> None:
    """Print the JSON schema of run files, for editors."""
    from reasonrl.config.kinds import KINDS

    typer.echo(json.dumps(KINDS[kind].settings.model_json_schema(), indent=2))
