"""The commands of `reasonrl sandbox`, which are also those of `python -m reasonrl_sandbox`."""

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

from reasonrl.errors import ConfigError, DataError, ReasonRLError, SandboxError
from reasonrl.system.printable import block, visible
from reasonrl_sandbox import (
    Execution,
    Program,
    ProgramResult,
    Sandbox,
    SandboxSpec,
    ServerProtocol,
    describe_isolation,
    judge,
    read_tests,
)
from reasonrl_sandbox.attack import Trial, read_attacks, run_attacks
from reasonrl_sandbox.canary import planted_canary

app = typer.Typer(
    help="Run untrusted programs, on this machine or for others.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

NOT_PASSED: Final = 1
"""Exit code when a program did not pass, or did not end as expected."""

MAX_SHOWN: Final = 4000
"""Characters of an output that are shown."""

IsolationOption = Annotated[
    Literal["auto", "full", "container", "basic"],
    typer.Option(help="Refuse weaker isolation than this; auto takes the strongest available."),
]
Preimport = Annotated[
    list[str] | None, typer.Option(help="A package that programs may import, such as numpy; may repeat.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("run")
def run(
    program: Annotated[Path, typer.Argument(metavar="PROGRAM.py")],
    tests: Annotated[Path | None, typer.Option(help="JSON with calls, stdio, asserts or a file of tests.")] = None,
    isolation: IsolationOption = "auto",
    partial: Annotated[
        bool, typer.Option("--partial", help="Continue after the first test that does not pass.")
    ] = False,
    preimport: Preimport = None,
    url: Annotated[str | None, typer.Option(help="Run it on this server: http://HOST:PORT.")] = None,
    protocol: Annotated[ServerProtocol, typer.Option(help="Protocol of the server.")] = "reasonrl",
    as_json: AsJson = False,
) -> None:
    """Run a program on tests, or show its output; exit code 1 if it does not pass, 5 if the sandbox fails."""
    if partial and tests is None:
        raise typer.BadParameter("needs --tests to continue with", param_hint="--partial")
    slots, urls = (None, (url,)) if url else (1, ())
    spec = SandboxSpec(isolation, slots, tuple(preimport or ()), urls, protocol)
    source = _read(program)
    try:
        read = None if tests is None else read_tests(tests)
        with closing(spec.open()) as runner:
            result = runner.run(Program(source)) if read is None else judge(runner, source, read, partial=partial)
            report = runner.report()
    except DataError as error:  # of the command's arguments, so not the exit code of a run's data
        raise ConfigError(str(error)) from None
    if as_json:
        typer.echo(json.dumps({**_as_json(result), "isolation": asdict(report)}, indent=2))
    else:
        typer.echo("\n".join([*_lines_of(result), "", describe_isolation(report)]))
    raise typer.Exit(_exit_code(result))


@app.command("attack")
def attack(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Programs whose first line says `# expect: OUTCOME`.")],
    isolation: IsolationOption = "auto",
    preimport: Preimport = None,
    as_json: AsJson = False,
) -> None:
    """Run hostile programs; exit code 1 if one does not end as it states it must, or changes something on the host."""
    spec = SandboxSpec(isolation, preimport=tuple(preimport or ()))
    try:
        with closing(spec.open()) as runner, planted_canary(runner.report().uid) as canary:
            attacks = read_attacks(folder, canary.placeholders)
            trials = run_attacks(
                runner, attacks, on_trial=lambda trial: None if as_json else _print_if_unexpected(trial)
            )
            report, harm = runner.report(), canary.harm()
    except DataError as error:
        raise ConfigError(str(error)) from None
    num_expected = sum(trial.as_expected for trial in trials)
    if as_json:
        content = {"trials": list(map(_trial_as_json, trials)), "harm": harm, "isolation": asdict(report)}
        typer.echo(json.dumps(content, indent=2))
    else:
        summary = f"{num_expected} of {len(trials)} programs ended as expected"
        summary += f"; {sum(trial.is_false_pass for trial in trials)} passed that must not"
        summary += f"; {len(attacks) - len(trials)} are for other levels" if len(attacks) > len(trials) else ""
        typer.echo("\n".join([*(f"HARM: {visible(each)}" for each in harm), summary, "", describe_isolation(report)]))
    raise typer.Exit(NOT_PASSED if harm or num_expected < len(trials) else 0)


@app.command("doctor")
def doctor(isolation: IsolationOption = "auto", as_json: AsJson = False) -> None:
    """Print the isolation of this machine, layer by layer, and what each missing layer would need."""
    with Sandbox(isolation, slots=1) as sandbox:
        report = sandbox.report()
    typer.echo(json.dumps(asdict(report), indent=2) if as_json else describe_isolation(report))


@app.command("serve")
def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond loopback, a token is required.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any that is free.")] = 8080,
    token_file: Annotated[Path | None, typer.Option(help="File with the token; or set REASONRL_SANDBOX_TOKEN.")] = None,
    slots: Annotated[int | None, typer.Option(min=1, help="Programs at once; the usable cores if not given.")] = None,
    isolation: IsolationOption = "auto",
    preimport: Preimport = None,
    max_body_mib: Annotated[int, typer.Option(min=1, max=1024, help="Mebibytes of the longest request.")] = 8,
) -> None:
    """Run programs for other machines, until Ctrl-C. Speaks SandboxFusion's /run_code too."""
    from reasonrl_sandbox import serve as server
    from reasonrl_sandbox.messages import read_token

    token = read_token(token_file)
    server.check_address(host, token)
    with Sandbox(isolation, slots, tuple(preimport or ())) as sandbox:
        server.serve(sandbox, host=host, port=port, token=token, announce=typer.echo, max_body_mib=max_body_mib)


def describe_machine() -> str:
    """Return the isolation of this machine, for `reasonrl doctor`."""
    with Sandbox("auto", slots=1) as sandbox:
        return describe_isolation(sandbox.report())


def main() -> None:
    """Run a command; a mistake is one message on standard error."""
    try:
        app(prog_name="python -m reasonrl_sandbox")
    except ReasonRLError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


def _read(program: Path) -> str:
    """Return a program's text. What is not UTF-8 is kept, and does not compile."""
    try:
        return program.read_bytes().decode(errors="surrogateescape")
    except OSError as error:
        raise ConfigError(f"{program}: cannot be read: {error.strerror}.") from None


def _exit_code(result: ProgramResult | Execution) -> int:
    ended = result.outcome if isinstance(result, ProgramResult) else result.ending
    if ended == "sandbox_error":
        return SandboxError.exit_code
    return 0 if ended in ("passed", "finished") else NOT_PASSED


def _as_json(result: ProgramResult | Execution) -> dict[str, object]:
    """Return a result for JSON, without answers: those are for tests, and a program that runs alone has none."""
    return {name: value for name, value in asdict(result).items() if name != "answers"}


def _trial_as_json(trial: Trial) -> dict[str, object]:
    about = {"name": trial.attack.name, "expect": sorted(trial.attack.expect), "as_expected": trial.as_expected}
    ended = {"outcome": trial.outcome, "detail": trial.detail} if trial.result is None else _as_json(trial.result)
    return {**about, **ended}


def _lines_of(result: ProgramResult | Execution) -> Iterator[str]:
    """Yield what is printed about a result."""
    used = f"{result.cpu_s:.3f} s of CPU, {result.wall_s:.3f} s by the clock, {result.max_rss_mib:.0f} MiB"
    if isinstance(result, ProgramResult):
        yield f"{result.outcome}: {result.passed} of {result.total} tests passed; {used}"
    else:
        yield f"{result.ending}; {used}"
    if result.detail:
        yield f"    {visible(result.detail)}"
    if isinstance(result, ProgramResult):
        yield from (f"test {number}: {each}" for number, each in enumerate(result.per_test, start=1))
        if len(result.per_test) < result.total:
            yield f"{result.total - len(result.per_test)} tests were not run"
        if result.forgeable:
            yield "forgeable: these tests let objects of the program decide outcomes"
    for name, text in (("output", result.stdout), ("errors", result.stderr)):
        if text:
            yield f"{name}:\n" + block(text.rstrip("\n"), MAX_SHOWN)


def _print_if_unexpected(trial: Trial) -> None:
    if not trial.as_expected:
        expected = " or ".join(sorted(trial.attack.expect))
        typer.echo(f"{trial.attack.name}: {trial.outcome}, expected {expected}")
        typer.echo(f"    {visible(trial.detail)}")
