"""The commands that the author kit adds to `reasonrl rewards`: new, try, grade, check."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from reasonrl import ConfigError

app = typer.Typer(help="Write, try, check and measure a reward.", no_args_is_help=True)

RewardName = Annotated[
    str, typer.Argument(metavar="NAME", help="An installed name, ./file.py:name or package.module:name.")
]
Params = Annotated[list[str] | None, typer.Option("--param", help="A parameter of the reward: name=value.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Worker processes; all cores but one if not given.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
TimeoutS = Annotated[float, typer.Option(min=0.001, help="Longest time in seconds that one call may run.")]


@app.command("new")
def new_command(
    name: Annotated[str, typer.Argument(help="Of the reward, such as brief_answer.")],
    into: Annotated[Path, typer.Option(help="Folder in which the package's folder is made.")] = Path("."),
    kind: Annotated[
        Literal["rollout", "group", "batch", "async"],
        typer.Option(help="What it scores at once; async is a coroutine that scores one rollout."),
    ] = "rollout",
) -> None:
    """Write the package of a new reward: installable, with tests that pass. Overwrites nothing."""
    from reasonrl.plugins.lookup import Plugins
    from reasonrl_author.new import new_reward

    folder, *files = new_reward(name, into, kind, Plugins())
    typer.echo("\n".join([*map(str, files), "", f"Next: pip install -e '{folder}[test]' && pytest {folder}"]))


@app.command("try")
def try_command(
    name: RewardName,
    text: Annotated[list[str] | None, typer.Option(help="A completion, or - for standard input; may repeat.")] = None,
    text_file: Annotated[list[Path] | None, typer.Option(help="A file with a completion; may repeat.")] = None,
    answer: Annotated[str, typer.Option(help="The problem's answer.")] = "",
    prompt: Annotated[str, typer.Option(help="What the model saw.")] = "",
    meta: Annotated[str, typer.Option(help="The problem's further columns, as a JSON object.")] = "{}",
    params: Params = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Score texts, and print the reward's reasons."""
    from reasonrl.config.runfile import parse_params
    from reasonrl.config.settings import ScoringSettings
    from reasonrl_author.texts import describe_scores, read_meta, read_texts, score_texts, scores_as_json

    texts = read_texts(text or [], text_file or [])
    scores = score_texts(
        name,
        texts,
        answer=answer,
        prompt=prompt,
        meta=read_meta(meta),
        params=parse_params(params),
        settings=ScoringSettings(workers=1, timeout_s=timeout_s),
    )
    found = scores_as_json(texts, scores)
    typer.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else describe_scores(texts, scores))


@app.command("grade")
def grade_command(
    name: RewardName,
    pairs: Annotated[
        Path,
        typer.Option(
            help="Rows of JSON: id, answer, text[, prompt, meta, expected, kind]; or preferences in TRL's schema: "
            "[prompt,] chosen, rejected."
        ),
    ],
    out: Annotated[Path, typer.Option(help="File for the scores, one line a row.")],
    bare: Annotated[bool, typer.Option("--bare", help="Texts are only answers, not replies with one.")] = False,
    threshold: Annotated[
        float | None, typer.Option(help="Smallest value that counts as right; 1 if not given.", show_default=False)
    ] = None,
    params: Params = None,
    workers: Workers = None,
    timeout_s: TimeoutS = 10.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file of scores that exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Score a file of answers or of preferences, and measure how far the reward agrees with its labels."""
    from reasonrl.config.runfile import parse_params
    from reasonrl.config.settings import RewardRef, ScoringSettings
    from reasonrl.plugins.lookup import Plugins
    from reasonrl_author.grade import grade_pairs, grade_preferences
    from reasonrl_author.preferences import has_preferences

    ref = RewardRef(name=name, params=parse_params(params))
    settings = ScoringSettings(workers=workers, timeout_s=timeout_s)
    if not has_preferences(pairs):
        right = 1.0 if threshold is None else threshold
        found = grade_pairs(ref, pairs, out, settings, Plugins(), bare=bare, overwrite=overwrite, threshold=right)
    elif bare or threshold is not None:
        option = "--bare" if bare else "--threshold"
        raise ConfigError(f"{option} is for rows with an answer and a text, and {pairs} holds preferences.")
    else:
        found = grade_preferences(ref, pairs, out, settings, Plugins(), overwrite=overwrite)
    typer.echo(found.printed(as_json))


@app.command("check")
def check_command(
    name: RewardName,
    answer: Annotated[list[str] | None, typer.Option(help="A right answer to try; may repeat.")] = None,
    wrong: Annotated[list[str] | None, typer.Option(help="A wrong answer to all of them; may repeat.")] = None,
    pairs: Annotated[Path | None, typer.Option(help="Rows of JSON: id, answer, text, expected.")] = None,
    task: Annotated[str | None, typer.Option(help="Use problems of this task.")] = None,
    task_params: Annotated[list[str] | None, typer.Option("--task-param", help="Of the task: name=value.")] = None,
    num_problems: Annotated[int, typer.Option("--n", min=1, help="Problems of the task.")] = 20,
    params: Params = None,
    workers: Workers = None,
    timeout_s: TimeoutS = 10.0,
    as_json: AsJson = False,
) -> None:
    """Attack a reward: what can be exploited, what breaks it, what it depends on. Exit code 1 if anything was found."""
    from reasonrl.config.runfile import parse_params
    from reasonrl.config.settings import PluginRef, ScoringSettings
    from reasonrl_author import check_reward

    if task_params and not task:
        raise ConfigError("--task-param is for a task: give --task too.")
    report = check_reward(
        name,
        answers=answer or (),
        wrong=wrong or (),
        pairs=pairs,
        task=PluginRef(name=task, params=parse_params(task_params, "--task-param")) if task else None,
        num_problems=num_problems,
        params=parse_params(params),
        settings=ScoringSettings(workers=workers, timeout_s=timeout_s),
    )
    typer.echo(json.dumps(report.as_json(), indent=2) if as_json else str(report))
    raise typer.Exit(1 if report.findings else 0)
