"""Reward functions written for TRL or verl, called as they expect and read as they answer.

TRL's take ``prompts``, ``completions`` and every column of the data set as lists over a whole step and return a list
of numbers or None; verl's ``compute_score`` takes one sample's ``solution_str`` and ``ground_truth`` and returns a
number, or a mapping with ``score``. Left out: TRL's ``environments``, verl's reward models and managers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial, wraps
from inspect import Parameter, iscoroutinefunction, signature
from numbers import Real
from types import SimpleNamespace
from typing import Any, Final, Literal, TypeAlias

from reasonrl.config.settings import RewardRef
from reasonrl.errors import PluginError
from reasonrl.plugins.hookspecs import GIVEN
from reasonrl.types import Problem, Rollout, Score

Style: TypeAlias = Literal["plain", "trl", "trl_chat", "verl"]

TRL_GIVEN: Final = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric")
"""What TRL passes beside the columns of the data set."""

VERL_GIVEN: Final = ("data_source", "solution_str", "ground_truth", "extra_info")
"""What verl passes."""

ANSWER_COLUMNS: Final = ("answer", "solution", "ground_truth")
"""Columns that hold the problem's answer, where the data has none of that name."""

CHAT_HINT: Final = "completions were given as text; where it reads completion[0]['content'], set style: trl_chat"


def is_async(function: Callable[..., Any]) -> bool:
    """Say whether a function, or an object that is called like one, is to be awaited."""
    return iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__)


def style_of(function: Callable[..., Any], wanted: str = "auto") -> Style:
    """Tell whose signature a function has by its parameters, where the run file does not say it."""
    names = parameters(function)
    match wanted:
        case "plain" | "trl" | "trl_chat" | "verl":
            return wanted
        case _ if {"solution_str", "ground_truth"} <= names.keys():
            return "verl"
        case _ if "completions" in names:
            return "trl_chat" if _says_chat(names["completions"]) else "trl"
    return "plain"


def given(function: Callable[..., Any], ref: RewardRef) -> tuple[str, ...]:
    """Return the parameters of a function that are not for the run file to set.

    Of a function in TRL's style these are also all that it cannot do without: they are columns of the data.
    """
    match style_of(function, ref.style):
        case "plain":
            return GIVEN["rewards"]
        case "verl":
            return VERL_GIVEN
    return (*TRL_GIVEN, *(name for name in _required(function) if name not in ref.params))


def adapt(function: Callable[..., Any], wanted: str, where: str) -> Callable[..., Any]:
    """Return a function with reasonrl's arguments that calls one of another style; a plain one as it is.

    Args:
        function: the author's, parameters bound. Any: its signature is the author's.
        wanted: ``style`` of the run file.
        where: begins an error message.

    Raises:
        PluginError: it does not take what that style passes.
    """
    style = style_of(function, wanted)
    if style == "plain":
        return function
    names, needs = parameters(function), "solution_str" if style == "verl" else "completions"
    if needs not in names and not _takes_any(function):
        raise PluginError(f"{where}: style {style} passes {needs!r}, which the function does not take.")
    if style == "verl":
        return _between(_Verl(function).arguments, function, _verl_value)
    chat = style == "trl_chat" if wanted != "auto" or _is_annotated(names["completions"]) else None
    trl = _Trl(function, chat)
    before = trl.arguments_with_ids if "completion_ids" in names or _takes_any(function) else trl.arguments
    return _between(before, function, _same, hint=CHAT_HINT if chat is None else "")


def parameters(function: Callable[..., Any]) -> Mapping[str, Parameter]:
    """Return a function's parameters by name; none where Python cannot tell. Any: its signature is the author's."""
    try:
        return signature(function).parameters
    except (TypeError, ValueError):  # some compiled functions
        return {}


def _between(
    before: Callable[..., Mapping[str, Any]], function: Callable[..., Any], after: Callable[[Any], Any], hint: str = ""
) -> Callable[..., Any]:
    """Wrap a function: ``before`` makes its arguments, ``after`` reads its value; async where the author's is."""

    @wraps(function)
    async def awaited(**arguments: Any) -> Any:
        with _hinting(hint):
            return after(await function(**before(**arguments)))

    @wraps(function)
    def called(**arguments: Any) -> Any:
        with _hinting(hint):
            return after(function(**before(**arguments)))

    adapted = awaited if is_async(function) else called
    adapted.__dict__["__signature__"] = signature(before)  # what it takes, whatever the author's takes
    return adapted


@contextmanager
def _hinting(hint: str) -> Iterator[None]:
    try:
        yield
    except TypeError as error:
        raise (TypeError(f"{error} ({hint})") if hint else error) from error


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class _Verl:
    """Makes the arguments that verl passes."""

    function: Callable[..., Any]
    """The author's. Any: its signature is the author's."""

    def arguments(self, text: str, answer: str, problem: Problem) -> dict[str, Any]:
        """Return what verl would pass for one sample. Any: columns of the data."""
        passed = {
            "data_source": problem.meta.get("data_source", problem.task),
            "solution_str": text,
            "ground_truth": answer,
            "extra_info": problem.meta.get("extra_info", dict(problem.meta)),
        }
        return _accepted(self.function, passed)


def _verl_value(value: Any) -> Any:
    """Read verl's mapping: ``score``, numbers as parts, anything else in words. Any: whatever the author returned."""
    if not isinstance(value, Mapping):
        return value
    if "score" not in value:
        raise TypeError(f"returned a mapping without 'score': {sorted(map(str, value))}")
    extras = {str(name): extra for name, extra in value.items() if name != "score"}
    parts = {name: float(extra) for name, extra in extras.items() if isinstance(extra, Real)}
    why = ", ".join(f"{name} {extra!r}" for name, extra in extras.items() if name not in parts)
    score = value["score"]
    return Score.unscorable(why or "score is None") if score is None else Score(float(score), why, parts=parts)


@dataclass(frozen=True, slots=True)
class _Trl:
    """Makes the arguments that TRL passes."""

    function: Callable[..., Any]
    """The author's. Any: its signature is the author's."""
    chat: bool | None
    """Whether prompts and completions are conversations; None where the problem's own prompt says so, as in TRL."""

    def arguments(self, problems: Sequence[Problem], texts: Sequence[str], step: int) -> dict[str, Any]:
        """Return what TRL would pass for a step, but for the tokens. Any: columns of the data."""
        passed = {
            "prompts": [_messages(problem) if self._is_chat(problem) else _text(problem) for problem in problems],
            "completions": [
                [{"role": "assistant", "content": text}] if self._is_chat(problem) else text
                for problem, text in zip(problems, texts, strict=True)
            ],
            "trainer_state": SimpleNamespace(global_step=step),
            "log_extra": _collect_nothing,
            "log_metric": _collect_nothing,
        }
        columns = _columns(problems)
        lacking = [name for name in _required(self.function) if name not in {*columns, *TRL_GIVEN}]
        if lacking:
            known = ", ".join(sorted(columns))
            raise TypeError(f"no problem of this step has a column {lacking[0]!r}; the columns are {known}")
        return _accepted(self.function, {**columns, **passed})

    def arguments_with_ids(self, batch: Sequence[Rollout], step: int) -> dict[str, Any]:
        """Return what TRL would pass for a step. Any: columns of the data."""
        problems, texts = [rollout.problem for rollout in batch], [rollout.text for rollout in batch]
        ids = [list(rollout.completion.token_ids) for rollout in batch]
        return {**self.arguments(problems, texts, step), "completion_ids": ids}

    def _is_chat(self, problem: Problem) -> bool:
        return problem.messages is not None if self.chat is None else self.chat


def _messages(problem: Problem) -> list[dict[str, str]]:
    return [dict(message) for message in problem.messages or ({"role": "user", "content": problem.prompt},)]


def _text(problem: Problem) -> str:
    return problem.prompt or _messages(problem)[-1]["content"]


def _columns(problems: Sequence[Problem]) -> dict[str, list[Any]]:
    """Return every column of the data, None where a problem lacks it, and the answer. Any: columns of the data."""
    names = dict.fromkeys(name for problem in problems for name in problem.meta)
    answers = {name: [problem.meta.get(name, problem.answer) for problem in problems] for name in ANSWER_COLUMNS}
    return answers | {name: [problem.meta.get(name) for problem in problems] for name in names if name not in answers}


def _collect_nothing(*_: Any) -> None:
    """Stand for TRL's ``log_extra`` and ``log_metric``: parts of a score are logged instead. Any: what is logged."""


def _accepted(function: Callable[..., Any], passed: Mapping[str, Any]) -> dict[str, Any]:
    bound = function.keywords if isinstance(function, partial) else {}
    names = parameters(function)
    return {
        name: value for name, value in passed.items() if name not in bound and (name in names or _takes_any(function))
    }


def _required(function: Callable[..., Any]) -> list[str]:
    by_name = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    return [n for n, p in parameters(function).items() if p.kind in by_name and p.default is Parameter.empty]


def _takes_any(function: Callable[..., Any]) -> bool:
    return any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters(function).values())


def _is_annotated(parameter: Parameter) -> bool:
    return "[" in str(parameter.annotation)


def _says_chat(parameter: Parameter) -> bool:
    return any(word in str(parameter.annotation).lower() for word in ("dict", "mapping", "message"))
