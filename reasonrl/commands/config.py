"""``reasonrl config``."""

import json
from typing import Annotated, Literal

import typer

from reasonrl.commands.arguments import Overrides, RunFile

app = typer.Typer(help="Show, explain and describe run files.", no_args_is_help=True)

KindOption = Annotated[
    Literal["policy", "reward_model", "sft", "dpo", "kto"], typer.Option(help="What the run file trains.")
]


@app.command()
def show(run: RunFile, overrides: Overrides = None) -> None:
    """Print a run with every default filled in."""
    from reasonrl.config.find import find_run
    from reasonrl.config.runfile import dump_run, load_any
    from reasonrl.config.settings import RunConfig

    config = load_any(find_run(run), overrides or [])
    typer.echo(dump_run(config), nl=False)
    if isinstance(config, RunConfig):
        importance = config.algorithm.describe_importance(config.rollout.engine.name)
        typer.echo(f"# algorithm.importance: {importance}")


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
def schema(
    kind: Annotated[
        Literal["policy", "reward_model", "sft", "dpo", "kto", "suite", "pipeline"] | None,
        typer.Option(
            help="What the run file trains, or the file of a suite or a pipeline; if not given, any but a suite."
        ),
    ] = None,
) -> None:
    """Print the JSON schema of run files, or of suites, for editors and checks such as check-jsonschema."""
    from reasonrl.config.schema import pipeline_file_schema, run_file_schema, suite_file_schema

    match kind:
        case "suite":
            found = suite_file_schema()
        case "pipeline":
            found = pipeline_file_schema()
        case _:
            found = run_file_schema(kind)
    typer.echo(json.dumps(found, indent=2))
