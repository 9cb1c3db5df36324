"""Short functions to write, with hidden tests: chains of steps on a number, a list or a text."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Final, Literal, TypeAlias

from reasonrl import DataError, Problem, Split, digest
from reasonrl_sandbox import CallTests, Case
from reasonrl_tasks.drawing import draw_distinct

Kind: TypeAlias = Literal["number", "list", "text"]


@dataclass(frozen=True, slots=True)
class Step:
    """One operation on a value: in words, as an expression and as a function."""

    words: str
    """Such as ``plus {k}``; ``{k}`` stands for a small number."""
    code: str
    """The expression; ``{v}`` stands for the value before."""
    apply: Callable[[Any, int], Any]
    """Takes the value and ``k``. Any: a value of the kind."""


@dataclass(frozen=True, slots=True)
class Material:
    """The inputs and the steps of functions of one kind."""

    name: str
    """The argument's name."""
    given: str
    """The argument in words."""
    inputs: tuple[Any, ...]
    """What a function is called with. Any: values of the kind."""
    steps: tuple[Step, ...]
    max_k: int = 9
    """Greatest number in a step."""


@dataclass(frozen=True, slots=True)
class NumberedStep:
    """A step with its number."""

    step: Step
    k: int

    def words(self) -> str:
        """Say what the step does."""
        return self.step.words.format(k=self.k)

    def code(self, value: str) -> str:
        """Return the step as an expression over another expression."""
        return self.step.code.format(v=value if value.isidentifier() else f"({value})", k=self.k)


NUMBER: Final = Material(
    name="x",
    given="x",
    inputs=(5, 0, -3, 1, 12, -20, 7, 100, 997, -1234),
    steps=(
        Step("plus {k}", "{v} + {k}", lambda v, k: v + k),
        Step("minus {k}", "{v} - {k}", lambda v, k: v - k),
        Step("multiplied by {k}", "{v} * {k}", lambda v, k: v * k),
        Step("squared", "{v} ** 2", lambda v, k: v**2),
        Step("with its sign changed", "-{v}", lambda v, k: -v),
        Step("divided by {k} and rounded down", "{v} // {k}", lambda v, k: v // k),
        Step("modulo {k}", "{v} % {k}", lambda v, k: v % k),
    ),
    max_k=99,
)

LIST: Final = Material(
    name="numbers",
    given="the list numbers",
    inputs=([3, 1, 2], [], [5, 5, -4, 10, 0], [30, -1, 7, 12, 8, 2, 19], [4]),
    steps=(
        Step("with {k} added to each element", "[n + {k} for n in {v}]", lambda v, k: [n + k for n in v]),
        Step("with each element multiplied by {k}", "[n * {k} for n in {v}]", lambda v, k: [n * k for n in v]),
        Step("with only its elements above {k}", "[n for n in {v} if n > {k}]", lambda v, k: [n for n in v if n > k]),
        Step("without its first {k} elements", "{v}[{k}:]", lambda v, k: v[k:]),
        Step("with {k} appended", "{v} + [{k}]", lambda v, k: [*v, k]),
        Step("in reverse order", "{v}[::-1]", lambda v, k: v[::-1]),
        Step("sorted", "sorted({v})", lambda v, k: sorted(v)),
    ),
)

TEXT: Final = Material(
    name="s",
    given="the text s",
    inputs=("hello", "", "a b c", "Tests are hidden", "x"),
    steps=(
        Step("repeated {k} times", "{v} * {k}", lambda v, k: v * k),
        Step("without its first {k} characters", "{v}[{k}:]", lambda v, k: v[k:]),
        Step("with the digit {k} appended", "{v} + '{k}'", lambda v, k: f"{v}{k}"),
        Step("in reverse order", "{v}[::-1]", lambda v, k: v[::-1]),
        Step("in capital letters", "{v}.upper()", lambda v, k: v.upper()),
        Step("with every space removed", "{v}.replace(' ', '')", lambda v, k: v.replace(" ", "")),
    ),
)

MATERIALS: Final[Mapping[Kind, Material]] = {"number": NUMBER, "list": LIST, "text": TEXT}


def functions(
    *,
    split: Split,
    seed: int,
    num_problems: int = 1_000,
    kinds: tuple[Kind, ...] = ("number", "list", "text"),
    min_steps: int = 1,
    max_steps: int = 2,
    max_value: int = 20,
    ask: Literal["function", "body"] = "function",
) -> Sequence[Problem]:
    """Ask for a function ``f`` such as the one that returns ``x multiplied by 3, then plus 2``.

    A problem is what its function does: two chains with the same results are one problem, whatever their words. The
    hidden tests for the reward ``unit_tests`` stand in ``meta["tests"]``, a solution is the ``answer``.

    Args:
        split: ``train`` or ``heldout``; disjoint by problem whatever the seed.
        seed: decides which problems are drawn, not what a problem is.
        num_problems: how many distinct problems.
        kinds: what functions work on: ``number``, ``list``, ``text``.
        min_steps: least number of steps in a chain.
        max_steps: greatest number of steps.
        max_value: greatest number in a step, 2 to 99; the least is 2. On lists and texts it stays below 10.
        ask: for the whole ``function`` in words, or for what follows ``return`` in one that is begun (``body``),
            which suits the template ``bare`` and models that only continue text.

    Raises:
        DataError: the settings contradict each other or allow too few problems.
    """
    if not kinds:
        raise DataError("task 'functions': kinds is empty; use any of 'number', 'list' and 'text'.")
    if not 1 <= min_steps <= max_steps:
        raise DataError(f"task 'functions': needs 1 <= min_steps <= max_steps, got {min_steps} and {max_steps}.")
    if not 2 <= max_value <= NUMBER.max_k:
        raise DataError(f"task 'functions': max_value is {max_value}; use 2 to {NUMBER.max_k}.")
    draw = partial(_draw, kinds=kinds, num_steps=(min_steps, max_steps), max_value=max_value, ask=ask)
    return draw_distinct(draw, task="functions", split=split, seed=seed, num_problems=num_problems)


def _draw(
    random: Random,
    *,
    kinds: Sequence[Kind],
    num_steps: tuple[int, int],
    max_value: int,
    ask: Literal["function", "body"],
) -> Problem | None:
    """Draw one problem, or None where its function changes no input or has too few results to be told from another."""
    kind = random.choice(kinds)
    material = MATERIALS[kind]
    chain = _random_chain(random, material, random.randint(*num_steps), min(max_value, material.max_k))
    results = [_result(chain, value) for value in material.inputs]
    if results == list(material.inputs) or len({str(result) for result in results}) < 3:
        return None
    return _problem(kind, chain, results, ask)


def _random_chain(random: Random, material: Material, length: int, max_k: int) -> list[NumberedStep]:
    return [NumberedStep(random.choice(material.steps), random.randint(2, max_k)) for _ in range(length)]


def _result(chain: Sequence[NumberedStep], value: Any) -> Any:
    """Any: a value of the kind."""
    for numbered in chain:
        value = numbered.step.apply(value, numbered.k)
    return value


def _problem(
    kind: Kind, chain: Sequence[NumberedStep], results: Sequence[Any], ask: Literal["function", "body"]
) -> Problem:
    """Any: values of the kind."""
    material = MATERIALS[kind]
    words = ", then ".join(numbered.words() for numbered in chain)
    stub = f"def f({material.name}):\n    return"
    cases = tuple(Case((value,), expected=result) for value, result in zip(material.inputs, results, strict=True))
    if ask == "body":
        prompt, begun = f"# Return {material.given} {words}.\n{stub}", {"stub": stub}
    else:
        prompt, begun = f"Write a Python function f({material.name}) that returns {material.given} {words}.", {}
    return Problem(
        id=digest("functions", kind, results),
        task="functions",
        prompt=prompt,
        answer=f"{stub} {_expression(chain, material.name)}",
        meta={"tests": CallTests("f", cases), "num_steps": len(chain), **begun},
    )


def _expression(chain: Sequence[NumberedStep], name: str) -> str:
    code = name
    for numbered in chain:
        code = numbered.code(code)
    return code
