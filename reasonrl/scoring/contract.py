"""What a reward may ask for and return: arguments by name, one rollout, a group or a batch at a time."""

import math
import numbers
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import Parameter
from typing import Any, Final, Literal, TypeAlias

from reasonrl.config.settings import RewardRef
from reasonrl.errors import PluginError, and_known
from reasonrl.plugins.failures import message
from reasonrl.plugins.hookspecs import GIVEN
from reasonrl.plugins.lookup import Plugins
from reasonrl.scoring import adapters
from reasonrl.scoring.functions import BoundOpening, is_marked_in_process, opening_of
from reasonrl.types import Rollout, Score, Span

Unit: TypeAlias = Literal["rollout", "group", "batch"]
"""What a reward is given at once."""

ARGUMENTS: Final[Mapping[Unit, Mapping[str, str]]] = {
    "rollout": {
        "rollout": "the whole :class:`~reasonrl.types.Rollout`: problem, rendered prompt and completion",
        "text": "the completion as text",
        "answer": "the problem's answer",
        "problem": "the :class:`~reasonrl.types.Problem`",
        "prompt": "the rendered prompt, as the model saw it",
        "messages": "the conversation: dictionaries with role and content, the completion as the assistant's last",
        "meta": "the problem's further columns, by name",
        "completion": "the :class:`~reasonrl.types.Trajectory`: text, tokens, log-probabilities, why it ended",
        "step": "number of the step; the first is 1, outside a run it is 0",
    },
    "group": {
        "group": "all rollouts of the problem",
        "texts": "their completions as text",
        "problem": "the :class:`~reasonrl.types.Problem`",
        "answer": "the problem's answer",
        "prompt": "the rendered prompt, as the model saw it",
        "meta": "the problem's further columns, by name",
        "step": "number of the step; the first is 1, outside a run it is 0",
    },
    "batch": {
        "batch": "all rollouts that are scored together: those of a step or of one refill of it, of one problem where "
        "sampling runs more than one step ahead",
        "texts": "their completions as text",
        "answers": "the answer of each one's problem",
        "problems": "each one's :class:`~reasonrl.types.Problem`",
        "step": "number of the step; the first is 1, outside a run it is 0",
    },
}
"""The arguments of each kind of reward, with what they are. A function names those that it wants."""

MARKS: Final[Mapping[Unit, tuple[str, ...]]] = {"batch": ("batch", "answers", "problems"), "group": ("group", "texts")}
"""Arguments that make a function one of a batch, or else of a group; any other function scores one rollout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    """A reward as a run uses it."""

    ref: RewardRef
    """What the run file says of it."""
    function: Callable[..., Any]
    """To be called with ``arguments`` by name; parameters are bound, another system's signature is adapted. Any: what
    it returns is read by :func:`as_score`."""
    source: Callable[..., Any]
    """The author's own function, parameters bound. Any: its signature is the author's."""
    unit: Unit
    """What it is given at once."""
    arguments: tuple[str, ...]
    """Names of the arguments it is given."""
    is_async: bool
    """Whether it is to be awaited."""
    in_process: bool = False
    """Whether it is called in this process, when all that it scores at once is there."""
    is_named: bool = False
    """Whether ``ref`` names it, so that another process finds it too."""
    opening: BoundOpening | None = None
    """Opens what it keeps open for as long as a run uses it, if anything."""

    @property
    def name(self) -> str:
        """The reward's label, or its name: what its scores go by."""
        return self.ref.key


def load_reward(ref: RewardRef, plugins: Plugins) -> Reward:
    """Return the reward that a run file names.

    Raises:
        PluginError: there is no such reward, its parameters do not fit, or it cannot be called as rewards are.
    """
    given = adapters.given(plugins.find("rewards", ref.name).function, ref)
    return replace(bind(ref, plugins.function("rewards", ref, given)), is_named=True)


def bind(ref: RewardRef, function: Callable[..., Any]) -> Reward:
    """Return a reward made of a function whose parameters are bound already.

    Args:
        ref: what the run file would say of it.
        function: the author's function. Any: its signature is the author's.

    Raises:
        PluginError: it cannot be called as rewards are, or a setting would be ignored.
    """
    where = f"rewards: {ref.key!r}"
    adapted = adapters.adapt(function, ref.style, where)
    named = adapters.parameters(adapted)
    unit = _unit(named)
    _refuse_parameters(named, unit, where)
    reward = Reward(
        ref=ref,
        function=adapted,
        source=function,
        unit=unit,
        arguments=tuple(name for name in ARGUMENTS[unit] if name in named),
        is_async=adapters.is_async(adapted),
        in_process=_is_in_process(ref, function),
        opening=opening_of(function),
    )
    _refuse_ignored_settings(reward, where)
    return reward


def _is_in_process(ref: RewardRef, function: Callable[..., Any]) -> bool:
    """Say whether a function is called in this process: as the run file says, or else as the function does."""
    return is_marked_in_process(function) if ref.isolated is None else not ref.isolated


def _unit(named: Collection[str]) -> Unit:
    return next((unit for unit, marks in MARKS.items() if not set(marks).isdisjoint(named)), "rollout")


def _refuse_parameters(named: Mapping[str, Parameter], unit: Unit, where: str) -> None:
    """Refuse a function that could not be called, with what to change."""
    known = ARGUMENTS[unit]
    for name, parameter in named.items():
        if parameter.kind is Parameter.POSITIONAL_ONLY:
            raise PluginError(f"{where}: arguments are given by name, but {name!r} has none; take the '/' out.")
        if name in GIVEN["rewards"] and name not in known:
            mark = next(mark for mark in MARKS[unit] if mark in named)
            raise PluginError(
                f"{where}: names both {mark!r} and {name!r}. A function with {mark!r} scores a whole {unit} and may "
                f"name {', '.join(known)}."
            )
        is_needed = parameter.default is Parameter.empty and parameter.kind not in (
            Parameter.VAR_POSITIONAL,
            Parameter.VAR_KEYWORD,
        )
        if is_needed and name not in known:
            raise PluginError(f"{where}: nothing is given for its parameter {name!r}.{and_known(name, known)}")
    if known.keys().isdisjoint(named):
        raise PluginError(f"{where}: names nothing to score: one of {', '.join(GIVEN['rewards'])}.")


def _refuse_ignored_settings(reward: Reward, where: str) -> None:
    """Refuse settings that have no effect on this kind of function."""
    for name in ("concurrency", "per_minute", "retries"):
        usual = RewardRef.model_fields[name].default
        if not reward.is_async and (value := getattr(reward.ref, name)) != usual:
            raise PluginError(f"{where}: {name} is {value}, but it is for async rewards and this is an ordinary one.")
    if reward.is_async and reward.in_process:
        what = "isolated is false" if reward.ref.isolated is False else "is marked by in_process"
        raise PluginError(f"{where}: {what}, but an async reward is never run in a worker; leave it out.")
    if is_marked_in_process(reward.source):
        _refuse_worker_settings(reward.ref, where)
    elif reward.opening and not reward.is_async:
        raise PluginError(
            f"{where}: is marked by keeps_open, which is for async rewards and those marked by in_process, and this is "
            "an ordinary one."
        )


def _refuse_worker_settings(ref: RewardRef, where: str) -> None:
    """Refuse what only a worker process can do to a function that needs this one."""
    if ref.isolated:
        raise PluginError(f"{where}: isolated is true, but this reward needs the run's own process; leave it out.")
    for name in ("timeout_s", "timeout_value"):
        if (value := getattr(ref, name)) is not None:
            raise PluginError(
                f"{where}: {name} is {value}, but this reward is called in the run's own process, where a call cannot "
                "be stopped; leave it out."
            )


def arguments_for(reward: Reward, rollouts: Sequence[Rollout], step: int) -> dict[str, Any]:
    """Return what a reward is given, by name. Any: texts, problems, rollouts.

    Args:
        reward: who asks.
        rollouts: one, those of a problem, or those of a step, as the reward's unit says.
        step: number of the step.
    """
    return {name: _argument(name, reward.unit, rollouts, step) for name in reward.arguments}


def _argument(name: str, unit: Unit, rollouts: Sequence[Rollout], step: int) -> Any:
    first = rollouts[0]
    match name:
        case "step":
            return step
        case "group" | "batch":
            return tuple(rollouts)
        case "texts":
            return tuple(rollout.text for rollout in rollouts)
        case "answers":
            return tuple(rollout.problem.answer for rollout in rollouts)
        case "problems":
            return tuple(rollout.problem for rollout in rollouts)
        case "rollout":
            return first
        case "answer" | "meta":
            return getattr(first.problem, name)
        case "messages":
            return conversation(first)
        case _:
            return getattr(first, name)


def conversation(rollout: Rollout) -> tuple[Mapping[str, str], ...]:
    """Return the problem's messages, or its question as one, with the completion as the assistant's."""
    asked = rollout.problem.messages or ({"role": "user", "content": rollout.problem.prompt},)
    return (*asked, {"role": "assistant", "content": rollout.text})


def as_score(value: Any) -> Score:
    """Read what a reward returned for one rollout: a Score, a number, a mapping of named parts, None for unscorable.

    Raises:
        TypeError: it is none of these.
        ValueError: a number in it is not finite, or spans are out of order.
    """
    if isinstance(value, Score):
        return Score(value.value, value.why, value.outcome, _parts(value.parts), _spans(value.spans))
    if value is None:
        return Score.unscorable("the reward returned None")
    if isinstance(value, Mapping):
        return _sum_of_parts(value)
    return Score(_number(value))


def as_scores(value: Any, rollouts: Sequence[Rollout]) -> tuple[Score, ...]:
    """Read what a reward returned for several rollouts: one value each, in their order or by their ids.

    A value that cannot be read costs its own rollout the score; the wrong number of values costs all of them theirs.
    Any: whatever it returned.
    """
    try:
        values = _by_id(value, rollouts) if isinstance(value, Mapping) else _in_order(value, len(rollouts))
    except Exception as error:  # as below
        return (failed(error),) * len(rollouts)
    return tuple(map(read_score, values, rollouts))


def read_score(value: Any, rollout: Rollout) -> Score:
    """As :func:`as_score`, with a failure as the score of what cannot be read. Any: whatever a reward returned."""
    try:
        return failed(value) if isinstance(value, _Missing) else _within(as_score(value), rollout.text)
    except Exception as error:  # the value is anybody's object: whatever its conversion raises is named
        return failed(error)


def failed(error: Exception) -> Score:
    """Return the score of a rollout that a reward failed on."""
    return Score(None, message(error), "error")


class _Missing(ValueError):
    """Stands for the value of a rollout that a mapping leaves out."""


def _in_order(value: Any, count: int) -> Sequence[Any]:
    """Return the values as a list of the right length. Any: whatever a reward returned."""
    values = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(values, Sequence) or isinstance(values, str | bytes):
        raise TypeError(f"returned {_short(value)}; a reward of {count} rollouts returns one value for each of them")
    if len(values) != count:
        raise ValueError(f"returned {len(values)} values for {count} rollouts")
    return values


def _by_id(values: Mapping[Any, Any], rollouts: Sequence[Rollout]) -> list[Any]:
    """Return the values in the order of the rollouts. Any: whatever a reward returned."""
    ids = [rollout.id for rollout in rollouts]
    if strange := [key for key in values if key not in ids]:
        raise ValueError(f"returned a value for {_short(strange[0])}, the id of none of its {len(ids)} rollouts")
    return [values.get(key, _Missing("returned no value for this rollout")) for key in ids]


def _sum_of_parts(parts: Mapping[Any, Any]) -> Score:
    """Read named parts: ``score`` is the value, or else their sum is. Any: whatever a reward returned."""
    if not parts:
        raise TypeError("returned an empty mapping; a mapping of named parts has at least one")
    rest = _parts({name: part for name, part in parts.items() if name != "score"})
    if "score" not in parts:
        return Score(math.fsum(rest.values()), parts=rest)
    if parts["score"] is None:
        return Score(None, "the reward returned None as score", "unscorable", rest)
    return Score(_number(parts["score"]), parts=rest)


def _parts(parts: Mapping[Any, Any]) -> dict[str, float]:
    """Check the names and numbers of parts. Any: whatever a reward returned."""
    if strange := [name for name in parts if not isinstance(name, str)]:
        raise TypeError(f"returned a part named {_short(strange[0])}; names are text")
    return {name: _finite(part, f"part {name!r}") for name, part in parts.items()}


def _spans(spans: Any) -> tuple[Span, ...]:
    """Check that spans are spans. Any: whatever a reward returned."""
    if strange := [span for span in spans if not isinstance(span, Span)]:
        raise TypeError(f"returned a Score with {_short(strange[0])} among its spans; each is a reasonrl.Span")
    return tuple(spans)


def _within(score: Score, text: str) -> Score:
    """Refuse spans beyond the end of the completion; the last one ends last."""
    if score.spans and score.spans[-1].end > len(text):
        end = score.spans[-1].end
        raise ValueError(f"a span ends after character {end}, but the completion has {len(text)} characters")
    return score


def _number(value: Any) -> float:
    """Read a number of any library's kind. Any: whatever a reward returned."""
    if type(value) is float or type(value) is int:
        return float(value)
    is_scalar = getattr(value, "ndim", 0) == 0 and not isinstance(value, str | bytes)
    is_real = isinstance(value, numbers.Real) or hasattr(value, "__float__")
    if not is_scalar or not is_real or (isinstance(value, numbers.Complex) and not isinstance(value, numbers.Real)):
        raise TypeError(f"returned {_short(value)}; a reward returns a number, None, a Score or a mapping of parts")
    return float(value)


def _finite(value: Any, what: str) -> float:
    """Read a number that must be finite. Any: as above."""
    number = _number(value)
    if not math.isfinite(number):
        raise ValueError(f"{what} is {number}, which is not a finite number")
    return number


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
