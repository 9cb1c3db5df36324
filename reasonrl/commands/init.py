"""``reasonrl init``: the files of a new run, from three questions or as many options."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reasonrl.errors import ConfigError, ReasonRLError

if TYPE_CHECKING:
    from reasonrl.plugins.lookup import Plugins
    from reasonrl.run.init.choices import Choices

WHAT = """\
Which model learns?
  tiny                      comes with the package; minutes on a CPU
  smollm2-135m-instruct     a small language model (reasonrl models get smollm2-135m-instruct)
  a folder, or OWNER/NAME of the Hugging Face hub"""

ON = """\
On what?
  arithmetic, countdown, functions      generated problems
  another task                          reasonrl tasks list
  a file of your problems               one JSON object a line, with a question and an answer"""

HOW = """\
How is a completion rewarded?
  {usual:<36}  the usual reward here
  another reward                        reasonrl rewards list
  new                                   a function that you write, with a test"""


def init(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Of the run and its files.")] = "my-run",
    model: Annotated[str | None, typer.Option(help="Which model learns: a name, a folder, or OWNER/NAME.")] = None,
    on: Annotated[str | None, typer.Option(help="What it learns on: a task, or a file of problems.")] = None,
    reward: Annotated[
        str | None, typer.Option(help="How it is rewarded: a reward's name, or new for a function of yours.")
    ] = None,
    into: Annotated[Path, typer.Option(help="The folder that the files are written into.")] = Path("."),
) -> None:
    """Write a run file, and a reward with a test if wanted. Asks what is not given; overwrites nothing."""
    from reasonrl.plugins.lookup import Plugins
    from reasonrl.run.init import write_new_run

    plugins = Plugins()
    choices = _choices(name, {"--model": model, "--on": on, "--reward": reward}, plugins)
    typer.echo(write_new_run(choices, into, plugins).text())


def _choices(name: str, given: dict[str, str | None], plugins: "Plugins") -> "Choices":
    """Return what was given and, in a terminal, what the answers to the other questions are."""
    from reasonrl.run.init.choices import Choices, check_model, check_name, check_problems, check_reward
    from reasonrl.run.init.settings import usual_reward

    check_name(name)
    missing = [option for option, value in given.items() if value is None]
    if missing and not sys.stdin.isatty():
        raise ConfigError(
            f"init asks its questions in a terminal; here give {', '.join(missing)}, such as: reasonrl init {name} "
            "--model tiny --on arithmetic --reward numeric_answer"
        )
    model = _answer(given["--model"], WHAT, "tiny", check_model)
    problems = _answer(given["--on"], ON, "arithmetic", lambda value: check_problems(value, plugins))
    usual = "" if given["--reward"] else usual_reward(problems, model, plugins)
    reward = _answer(given["--reward"], HOW.format(usual=usual), usual, lambda value: check_reward(value, plugins))
    return Choices(name=name, model=model, problems=problems, reward=reward)


def _answer(given: str | None, question: str, usual: str, check: Callable[[str], None]) -> str:
    """Return what was given, or ask until there is an answer that can be meant."""
    if given is not None:
        check(given)
        return given
    typer.echo(question)
    while True:
        answer = str(typer.prompt("", default=usual, prompt_suffix="> ")).strip()
        try:
            check(answer)
        except ReasonRLError as error:
            typer.echo(str(error))
        else:
            typer.echo("")
            return answer
