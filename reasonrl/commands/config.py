"""``reasonrl config``."""

import json
from typing import Annotated

import typer

from reasonrl.commands.arguments import Overrides, RunFile, find_run

app = typer.Typer(help="Show, explain and describe run files.", no_args_is_help=True)


@app.command()
def show(run: RunFile, overrides: Overrides = None) -> None:
    """Print a run with every default filled in."""
    from reasonrl.config.runfile import dump_run, load_run

    typer.echo(dump_run(load_run(find_run(run), overrides or [])), nl=False)


@app.command()
def explain(
    setting: Annotated[str, typer.Argument(help="Such as learner or learner.learning_rate.")] = "",
) -> None:
    """Say what a setting, or each setting of a group, means."""
    from reasonrl.config.runfile import explain_setting

    for name, kind, default, sentence in explain_setting(setting):
        typer.echo(f"{name}: {kind}{f' = {default}' if default else ''}\n    {sentence}")


@app.command()
def schema() -> None:
    """Print the JSON schema of run files, for editors."""
    from reasonrl.config.settings import RunConfig

    typer.echo(json.dumps(RunConfig.model_json_schema(), indent=2))
