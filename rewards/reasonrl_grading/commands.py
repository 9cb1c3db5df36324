"""The commands of LaTeX that the reader knows, and what they stand for."""

import re
from collections.abc import Mapping
from typing import Final

from flint import fmpq

from reasonrl_grading.nodes import (
    EULER,
    INFINITY,
    PI,
    REALS,
    Call,
    Collection,
    Node,
    Number,
    ParseError,
    Power,
    negated,
)

_PLAIN_FUNCTIONS = "sin cos tan cot sec csc sinh cosh tanh coth sech csch ln log lg exp"
FUNCTIONS: Final[Mapping[str, str]] = {
    name: name for name in _PLAIN_FUNCTIONS.split()
} | {
    "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arccot": "acot", "asin": "asin", "acos": "acos",
    "atan": "atan", "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh", "asinh": "asinh", "arsinh": "asinh",
    "gcd": "gcd", "lcm": "lcm", "max": "max", "min": "min", "floor": "floor", "ceil": "ceil", "abs": "abs",
    "Gamma": "gamma", "cis": "cis",
}  # fmt: skip
INVERSES = {"sin": "asin", "cos": "acos", "tan": "atan", "cot": "acot", "sinh": "asinh"}
_ZERO = Number(fmpq(0))
CONSTANTS: Mapping[str, Node] = {
    "pi": PI,
    "infty": INFINITY,
    "exponentialE": EULER,
    "emptyset": Collection("{}", ()),
    "setR": REALS,
    "setR+": Collection("()", (_ZERO, INFINITY)),
    "setR-": Collection("()", (negated(INFINITY), _ZERO)),
}
_LETTERS = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi omega "
    "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell hbar imath jmath "
    "setZ setN setQ setC setZ+ setN+ setQ+ setZ- setQ- setZ* setN* setQ* setR*"
)
NAMES = frozenset(_LETTERS.split())
_ACCENT_NAMES = "overline bar vec hat tilde underline widetilde dot ddot overleftrightarrow"
ACCENTS = frozenset(_ACCENT_NAMES.split())
FENCES: Mapping[str, tuple[str, str]] = {"lfloor": ("rfloor", "floor"), "lceil": ("rceil", "ceil")}
DERIVATIVE = re.compile(r"d(\^?[0-9])?[a-zA-Z]{0,2}d[a-zA-Z](\^?[0-9])?")
POSTFIXES: Mapping[str, str] = {"!": "factorial", "°": "degrees", "%": "percent", "'": "prime"}
NO_FACTORS = frozenset({"pm", "mp", "mod", "pmod", "to", "cup", "cap", "rfloor", "rceil", "rangle", "ldots"})
OPAQUE = frozenset({"iint", "iiint", "oint", "lim", "prod", "sum", "partial", "nabla"})
CALLABLE = frozenset("fghFGHPQ")


def called(name: str, base: Node | None, arguments: tuple[Node, ...]) -> Node:
    """Return a function of arguments, with the base that only a logarithm has.

    Raises:
        ParseError: another function has a base.
    """
    if name in {"max", "min", "gcd", "lcm"} and len(arguments) == 1 and isinstance(arguments[0], Collection):
        arguments = arguments[0].items
    if base is not None and name != "log":
        raise ParseError
    if name == "lg":
        return Call("log", (*arguments, Number(fmpq(10))))
    if name == "log" and base is not None:
        return Call("log", (*arguments, base))
    if name == "exp" and len(arguments) == 1:
        return Power(EULER, arguments[0])
    return Call(name, arguments)
