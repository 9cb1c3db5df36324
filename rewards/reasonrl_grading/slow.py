r"""The slow tier: math-verify for notation that the parser does not read, such as ``cases``.

It has no time limit of its own, so call it in processes that can be killed. It reads the beginning of broken text,
drops commands that it does not know and rounds tiny numbers, so only complete text of known commands is passed to it.
"""

import logging
import re
from typing import Final

MAX_LENGTH: Final = 400
"""Characters of a text that is passed on."""

_LAYOUT = "left right quad qquad displaystyle text mathrm mathbf mathbb mathcal mathit begin end"
_SYMBOLS = (
    "pi infty alpha beta gamma delta epsilon varepsilon zeta eta theta lambda mu nu xi rho sigma tau phi varphi chi "
    "psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"
)
_OPERATIONS = (
    "frac dfrac tfrac sqrt binom sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log exp min max "
    "gcd lcm cdot times div pm mp le leq ge geq ne neq in cup cap setminus to mod bmod pmod equiv "
    "lfloor rfloor lceil rceil lvert rvert mid vert overline det"
)
_KNOWN = frozenset([*_LAYOUT.split(), *_SYMBOLS.split(), *_OPERATIONS.split(), *"\\{},;:! %$|"])
_COMMAND = re.compile(r"\\([a-zA-Z]+|.)", re.DOTALL)
_CONSTRUCT = re.compile(r"\\begin\s*\{(?:d?cases|aligned|align\*?|gathered|array|[a-zA-Z]*matrix)\}|\\det(?![a-zA-Z])")
_PLAIN = re.compile(r"[0-9a-zA-Z\s\\{}()\[\]^_+\-*/=<>,.;:!|&%']*")
_BROKEN = re.compile(
    r"\\(?:[dt]?frac|sqrt|binom|cdot|times|div|pm|mp|leq?|geq?|neq?|in|cup|cap)\s*$|\.\."
    r"|[-+*/^_=<>(\[{,]\s*$|^\s*[*/^_=<>)\]},]|[-+*/^_=<>(\[{,]\s*[*/^_=)\]},]|\{\s*\}"
)
_COSTLY = re.compile(r"[0-9]{40}|\^\s*\{?\s*[0-9]{3}|\*\*\s*[0-9]{3}|\^[^+\-*/ ]*\^|[0-9]{4,}\s*!|!\s*\)\s*!|__")


def is_fit(text: str) -> bool:
    """Whether a text may be passed to math-verify: short, complete, of known commands, without a costly power."""
    if len(text) > MAX_LENGTH or not _PLAIN.fullmatch(text) or _BROKEN.search(text) or _COSTLY.search(text):
        return False
    is_balanced = all(text.count(one) == text.count(other) for one, other in ("{}", "()", "[]"))
    return is_balanced and _KNOWN.issuperset(_COMMAND.findall(text))


def is_beyond_the_parser(text: str) -> bool:
    """Whether a text has notation that math-verify reads and the parser does not always read."""
    return _CONSTRUCT.search(text) is not None


def same_by_math_verify(given: str, wanted: str) -> bool | None:
    """Whether math-verify finds two answers equal, or None where it cannot read the wanted one."""
    from math_verify import parse, verify

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    gold = parse(f"${wanted}$", parsing_timeout=None)
    if not gold:
        return None
    answer = parse(f"${given}$", parsing_timeout=None)
    return bool(answer) and bool(verify(gold, answer, timeout_seconds=None))
