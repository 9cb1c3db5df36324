"""The command line: parse, look up, call. Mistakes of a user end in one message and an exit code."""

import errno
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from reasonrl import __version__
from reasonrl.errors import ConfigError, ReasonRLError, RunError

app = typer.Typer(
    help="Reasoning RL with verifiable rewards: sample groups, score them with plugins, learn, measure held-out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
config_app = typer.Typer(help="Show, explain and describe run files.", no_args_is_help=True)
models_app = typer.Typer(help="Models by name, and fetching them.", no_args_is_help=True)
sandbox_app = typer.Typer(help="Run programs that nobody trusts: here, or for other machines.", no_args_is_help=True)
app.add_typer(config_app, name="config")
app.add_typer(models_app, name="models")
app.add_typer(sandbox_app, name="sandbox")

RunFile = Annotated[str, typer.Argument(metavar="RUN", help="A recipe's name, or the path of a run file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY.PATH=VALUE]...", help="Settings that replace the run file's.")
]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Answer --version."""
    if version:
        typer.echo(f"reasonrl {__version__}")
        raise typer.Exit


@app.command()
def train(
    run: Annotated[str | None, typer.Argument(metavar="RUN", help="A recipe's name, or a run file.")] = None,
    overrides: Overrides = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with a stopped run: its directory.")] = None,
    fork: Annotated[str | None, typer.Option(help="Start a new run from a checkpoint: DIR@STEP.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="One line a step, no colours.")] = False,
    show_samples: Annotated[int, typer.Option(help="Completions to show after each step, with scores.")] = 0,
) -> None:
    """Train a run, and measure it on its held-out suites before, during and after."""
    from reasonrl.training import fork_run, resume_run, start_run
    from reasonrl.view import choose_view

    if [run is not None and not _is_override(run), resume is not None, fork is not None].count(True) != 1:
        raise ConfigError("give one of: a run (reasonrl train quickstart), --resume DIR, or --fork DIR@STEP.")
    settings = [*([run] if run is not None and _is_override(run) else []), *(overrides or [])]
    view = choose_view(plain, show_samples)
    if resume is not None:
        code = resume_run(resume, settings, view)
    elif fork is not None:
        code = fork_run(fork, settings, view, argv=sys.argv)
    else:
        assert run is not None
        code = start_run(_find_run(run), settings, view, argv=sys.argv)
    raise typer.Exit(code)


@app.command()
def plan(run: RunFile, overrides: Overrides = None) -> None:
    """Say what a run would do: steps, tokens, time measured in a probe, memory, overlap. Writes nothing."""
    from reasonrl.plan import plan_run
    from reasonrl.plugins import Plugins
    from reasonrl.runfile import load_run

    typer.echo(plan_run(load_run(_find_run(run), overrides or []), Plugins()))


@app.command()
def doctor(
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="A recipe's name, or the path of a run file; without it, this machine."),
    ] = None,
    overrides: Overrides = None,
    engine: Annotated[str | None, typer.Option(help="Sample with this engine; the run file's if not given.")] = None,
    steps: Annotated[int | None, typer.Option(min=2, help="Steps to take at learning rate 0; 3 if not given.")] = None,
) -> None:
    """Look a run over before it trains: what the model is given and says, and whether the machinery is exact.

    Without a run, say what would hold programs on this machine, as `reasonrl sandbox doctor` does.
    """
    if run is None:
        for option, given in (("--engine", engine), ("--steps", steps)):
            if given is not None:
                raise typer.BadParameter("needs a RUN that is to be examined", param_hint=option)
        return sandbox_doctor()
    from reasonrl.doctor import examine_run
    from reasonrl.plugins import Plugins
    from reasonrl.runfile import load_run

    settings = [*(overrides or []), *([f"rollout.engine={engine}"] if engine else [])]
    raise typer.Exit(examine_run(load_run(_find_run(run), settings), Plugins(), steps=steps or 3, say=typer.echo))


@app.command("eval")
def evaluate(
    model: Annotated[str, typer.Argument(help="A model's name or folder, a run directory, or RUN@STEP.")],
    suite: Annotated[str, typer.Option(help="Held-out suite: a name, ./file.py:function or module:function.")],
    params: Annotated[list[str] | None, typer.Option("--param", help="A parameter of the suite: name=value.")] = None,
    template: Annotated[str | None, typer.Option(help="Another prompt template than the suite's.")] = None,
    num_samples: Annotated[int | None, typer.Option(min=1, help="Completions a problem.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0.0, help="Sampling temperature; 0 is greedy.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Longest completion.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of sampling.")] = 0,
    batch_problems: Annotated[int, typer.Option(min=1, help="Problems sampled at once.")] = 64,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder for the results; results/MODEL/SUITE if not given.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that are there.")] = False,
) -> None:
    """Measure a model on a held-out suite, with an interval."""
    from reasonrl.evaluating import evaluate_model
    from reasonrl.plugins import Plugins

    changes = {
        "template": template,
        "num_samples": num_samples,
        "temperature": temperature,
        "max_new_tokens": max_new_tokens,
    }
    typer.echo(
        evaluate_model(
            model,
            suite,
            _values(params or []),
            {name: value for name, value in changes.items() if value is not None},
            Plugins(),
            seed=seed,
            batch_problems=batch_problems,
            device=device,
            out=out,
            overwrite=overwrite,
        )
    )


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="Results, a run directory, or RUN@STEP.")],
    b: Annotated[str | None, typer.Argument(help="The same; left out, a run's last evaluation with its first.")] = None,
    suite: Annotated[str | None, typer.Option(help="Which suite, where a run has several.")] = None,
    allow_prompt_mismatch: Annotated[
        bool, typer.Option("--allow-prompt-mismatch", help="Compare although the prompts differ.")
    ] = False,
) -> None:
    """Compare two evaluations, paired by problem."""
    from reasonrl.evaluation.compare import compare as paired
    from reasonrl.evaluation.compare import find_results, first_and_last, render_comparison
    from reasonrl.evaluation.files import read_result

    folders = (find_results(a, suite), find_results(b, suite)) if b else first_and_last(Path(a), suite)
    first, second = (read_result(folder) for folder in folders)
    comparison = paired(first, second, allow_prompt_mismatch=allow_prompt_mismatch)
    typer.echo(render_comparison(comparison, *((a, b) if b else (str(folder.parent) for folder in folders))))


@config_app.command("show")
def config_show(run: RunFile, overrides: Overrides = None) -> None:
    """Print a run with every default filled in."""
    from reasonrl.runfile import dump_run, load_run

    typer.echo(dump_run(load_run(_find_run(run), overrides or [])), nl=False)


@config_app.command("explain")
def config_explain(
    setting: Annotated[str, typer.Argument(help="Such as learner or learner.learning_rate.")] = "",
) -> None:
    """Say what a setting, or each setting of a group, means."""
    from reasonrl.runfile import explain_setting

    for name, kind, default, sentence in explain_setting(setting):
        typer.echo(f"{name}: {kind}{f' = {default}' if default else ''}\n    {sentence}")


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON schema of run files, for editors."""
    from reasonrl.config import RunConfig

    typer.echo(json.dumps(RunConfig.model_json_schema(), indent=2))


@models_app.command("list")
def models_list() -> None:
    """List the models that reasonrl knows by a short name."""
    from reasonrl.models import NAMED, locate

    for name, model in NAMED.items():
        try:
            state = locate(name)
        except ReasonRLError:
            state = f"not fetched; reasonrl models get {name}"
        typer.echo(f"{name}: {model.description}\n    {state}")


@models_app.command("get")
def models_get(name: str) -> None:
    """Fetch a model into the cache: download, verify, convert."""
    from reasonrl.models.fetch import fetch

    typer.echo(str(fetch(name)))


IsolationOption = Annotated[
    Literal["auto", "full", "container", "basic"],
    typer.Option(help="Refuse less than this level; auto takes the strongest that can be formed."),
]
Preimport = Annotated[
    list[str] | None, typer.Option(help="A package that programs may import, such as numpy; may repeat.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@sandbox_app.command("run")
def sandbox_run(
    program: Annotated[Path, typer.Argument(metavar="PROGRAM.py")],
    tests: Annotated[Path | None, typer.Option(help="JSON with calls, stdio, asserts or a file of tests.")] = None,
    isolation: IsolationOption = "auto",
    partial: Annotated[bool, typer.Option("--partial", help="Go on after the first test that is not passed.")] = False,
    preimport: Preimport = None,
    url: Annotated[str | None, typer.Option(help="Run it on this server: http://HOST:PORT.")] = None,
    protocol: Annotated[
        Literal["reasonrl", "sandboxfusion"], typer.Option(help="What the server speaks.")
    ] = "reasonrl",
    as_json: AsJson = False,
) -> None:
    """Run a program on tests, or show what it prints; exit code 1 if it does not pass, 5 if the sandbox fails."""
    if partial and tests is None:
        raise typer.BadParameter("needs --tests to go on with", param_hint="--partial")
    from reasonrl.programs import run_program
    from reasonrl.sandbox import Place

    slots, urls = (None, (url,)) if url else (1, ())
    place = Place(isolation, slots, tuple(preimport or ()), urls, protocol)
    said, code = run_program(place, program, tests, partial=partial, as_json=as_json)
    typer.echo(said)
    raise typer.Exit(code)


@sandbox_app.command("attack")
def sandbox_attack(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Programs whose first line says `# expect: OUTCOME`.")],
    isolation: IsolationOption = "auto",
    preimport: Preimport = None,
    as_json: AsJson = False,
) -> None:
    """Run programs that try to do harm; exit code 1 if one does not end as it says it must, or does harm."""
    from reasonrl.programs import attack
    from reasonrl.sandbox import Place

    place = Place(isolation, preimport=tuple(preimport or ()))
    raise typer.Exit(attack(place, folder, as_json=as_json, say=typer.echo))


@sandbox_app.command("doctor")
def sandbox_doctor(isolation: IsolationOption = "auto", as_json: AsJson = False) -> None:
    """Say what would hold programs here, layer by layer, and what each missing layer would need."""
    from dataclasses import asdict

    from reasonrl.programs import describe_isolation
    from reasonrl.sandbox import Sandbox

    with Sandbox(isolation, slots=1) as sandbox:
        report = sandbox.report()
    typer.echo(json.dumps(asdict(report), indent=2) if as_json else describe_isolation(report))


@sandbox_app.command("serve")
def sandbox_serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond loopback, a token is required.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any that is free.")] = 8080,
    token_file: Annotated[
        Path | None, typer.Option(help="File that holds the token; or set REASONRL_SANDBOX_TOKEN.")
    ] = None,
    slots: Annotated[int | None, typer.Option(min=1, help="Programs at once; the usable cores if not given.")] = None,
    isolation: IsolationOption = "auto",
    preimport: Preimport = None,
) -> None:
    """Run programs for other machines, until Ctrl-C. Speaks SandboxFusion's /run_code too."""
    from reasonrl.sandbox import Sandbox
    from reasonrl.sandbox.messages import read_token
    from reasonrl.sandbox.serve import check_address, serve

    token = read_token(token_file)
    check_address(host, token)
    with Sandbox(isolation, slots, tuple(preimport or ())) as sandbox:
        serve(sandbox, host=host, port=port, token=token, say=typer.echo)


def _lister(kind: str) -> typer.Typer:
    """Return the commands that list and show one kind of plugin."""
    group = typer.Typer(help=f"The installed {kind}.", no_args_is_help=True)

    @group.command("list")
    def list_offers() -> None:
        from reasonrl.listing import list_plugins

        typer.echo(list_plugins(kind))

    list_offers.__doc__ = f"List the {kind}, their owners, and plugins that are broken."
    list_offers_command = group.registered_commands[0]
    list_offers_command.help = list_offers.__doc__

    @group.command("show", help="Print one of them with its parameters and documentation.")
    def show_offer(name: str) -> None:
        from reasonrl.listing import show_plugin, show_reward

        typer.echo(show_reward(name) if kind == "rewards" else show_plugin(kind, name))

    return group


rewards_app = _lister("rewards")
app.add_typer(rewards_app, name="rewards")
for _kind in ("tasks", "suites", "configs", "advantages", "losses"):
    app.add_typer(_lister(_kind), name=_kind)

RewardName = Annotated[
    str, typer.Argument(metavar="NAME", help="An installed name, ./file.py:name or package.module:name.")
]
Params = Annotated[list[str] | None, typer.Option("--param", help="A parameter of the reward: name=value.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes that it runs in; the cores but one if not given.")]
TimeoutS = Annotated[float, typer.Option(min=0.001, help="Longest time in seconds that one call may run.")]


@rewards_app.command("new")
def rewards_new(
    name: Annotated[str, typer.Argument(help="Of the reward, such as brief_answer.")],
    into: Annotated[Path, typer.Option(help="Folder in which the package's folder is made.")] = Path("."),
    kind: Annotated[
        Literal["rollout", "group", "batch", "async"],
        typer.Option(help="What it scores at once; async is one rollout, with something to wait for."),
    ] = "rollout",
) -> None:
    """Write the package of a new reward: installable, with tests that pass. Overwrites nothing."""
    from reasonrl.author.new import new_reward
    from reasonrl.plugins import Plugins

    folder, *files = new_reward(name, into, kind, Plugins())
    typer.echo("\n".join([*map(str, files), "", f"Next: pip install -e '{folder}[test]' && pytest {folder}"]))


@rewards_app.command("try")
def rewards_try(
    name: RewardName,
    text: Annotated[list[str] | None, typer.Option(help="A completion, or - for standard input; may repeat.")] = None,
    text_file: Annotated[list[Path] | None, typer.Option(help="A file that holds a completion; may repeat.")] = None,
    answer: Annotated[str, typer.Option(help="The problem's answer.")] = "",
    prompt: Annotated[str, typer.Option(help="What the model saw.")] = "",
    meta: Annotated[str, typer.Option(help="The problem's further columns, as a JSON object.")] = "{}",
    params: Params = None,
    timeout_s: TimeoutS = 10.0,
) -> None:
    """Score a few texts, and say why."""
    from reasonrl.author.trying import describe_scores, read_meta, read_texts, score_texts
    from reasonrl.config import ScoringSettings

    texts = read_texts(text or [], text_file or [])
    settings = ScoringSettings(workers=1, timeout_s=timeout_s)
    scores = score_texts(
        name,
        texts,
        answer=answer,
        prompt=prompt,
        meta=read_meta(meta),
        params=_values(params or []),
        settings=settings,
    )
    typer.echo(describe_scores(texts, scores))


@rewards_app.command("grade")
def rewards_grade(
    name: RewardName,
    pairs: Annotated[Path, typer.Option(help="Rows of JSON: id, answer, text[, prompt, meta, expected, kind].")],
    out: Annotated[Path, typer.Option(help="File for the verdicts, one a row.")],
    bare: Annotated[bool, typer.Option("--bare", help="Texts are answers already, not replies that hold one.")] = False,
    params: Params = None,
    workers: Workers = None,
    timeout_s: TimeoutS = 10.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace verdicts that are there.")] = False,
) -> None:
    """Grade a file of answered questions, and measure the reward where rows say what is expected."""
    from reasonrl.author.grade import grade_pairs
    from reasonrl.config import RewardRef, ScoringSettings
    from reasonrl.plugins import Plugins

    ref = RewardRef(name=name, params=_values(params or []))
    settings = ScoringSettings(workers=workers, timeout_s=timeout_s)
    typer.echo(grade_pairs(ref, pairs, out, settings, Plugins(), bare=bare, overwrite=overwrite))


@rewards_app.command("check")
def rewards_check(
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
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Say what can be farmed, what breaks it and what it depends on; exit code 1 if anything was found."""
    from reasonrl.author import check_reward
    from reasonrl.config import PluginRef, ScoringSettings

    if task_params and not task:
        raise ConfigError("--task-param is for a task: give --task too.")
    report = check_reward(
        name,
        answers=answer or (),
        wrong=wrong or (),
        pairs=pairs,
        task=PluginRef(name=task, params=_values(task_params or [])) if task else None,
        num_problems=num_problems,
        params=_values(params or []),
        settings=ScoringSettings(workers=workers, timeout_s=timeout_s),
    )
    typer.echo(json.dumps(report.as_json(), indent=2) if as_json else str(report))
    raise typer.Exit(1 if report.findings else 0)


def _find_run(name: str) -> Path:
    """Return the path of a run file, given it or a recipe's name."""
    from reasonrl.plugins import Plugins

    path = Path(name)
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        return path
    return Path(Plugins().find("configs", name).value)


def _is_override(text: str) -> bool:
    """Tell ``key=value`` from a run's name."""
    return "=" in text and not Path(text).is_file()


def _values(params: Sequence[str]) -> dict[str, Any]:
    """Read ``name=value`` options; values are YAML. Any: the plugin's own types."""
    from reasonrl.runfile import parse_value

    pairs = [param.partition("=") for param in params]
    if bad := next((name for name, equals, _ in pairs if not equals), None):
        raise ConfigError(f"--param {bad!r}: write name=value.")
    return {name: parse_value(text) for name, _, text in pairs}


def main() -> None:
    """Run the command line; an error of ours is one message on standard error."""
    # torch reads it once, at its first tensor: large pages save the time that page faults and address look-ups take.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        app()
    except ReasonRLError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted.", 130)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _fail(f"the disk is full: {error.filename or ''}. Free space and try again.", RunError.exit_code)


def _fail(message: str, code: int) -> None:
    """Print an error and leave."""
    typer.echo(f"error: {message}", err=True)
    sys.exit(code)
