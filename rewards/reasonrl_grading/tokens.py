r"""Split a cleaned answer into tokens, with digit groups joined.

Answers in LaTeX, in plain text and in a mixture of both give the same kinds of tokens.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias

from reasonrl_grading.units import named_unit

Kind: TypeAlias = Literal["number", "symbol", "word", "text", "command", "sign"]


class Token(NamedTuple):
    """A piece of an answer."""

    kind: Kind
    text: str
    """Digits, a name, the contents of a ``\\text{}``, a command without its backslash, or a sign."""
    start: int
    end: int
    spaced: bool
    """Whether white space precedes it."""


_TOKEN = re.compile(
    r"(?P<plain>[-+/()^_{},;|&%:\[\]]|=(?![=>])|\*(?!\*)|!(?!=)|[<>](?!=))"
    r"|(?P<space>\s+)"
    r"|(?P<text>\\(?:text(?:bf|it|rm|sf|tt|normal|up)?|math(?:rm|bf|it|sf|cal|bb|frak|scr)|mbox|hbox|operatorname\*?"
    r"|boldsymbol|bm|emph)\s*\{(?P<content>(?:[^{}]|\{[^{}]*\})*)\})"
    r"|(?P<number>(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6}(?![a-zA-Z0-9.]))?)"
    r"|\\begin\s*\{(?P<opened>[a-zA-Z]+)\*?\}"
    r"(?:(?<=array\}|bular\})(?:\s*\[[a-z]\])?\s*\{(?:[lcr|@!>< ]|\{[^{}0-9]*\})*\}"
    r"|(?<=ignat\}|nedat\})\s*\{[0-9]\}|(?<=matrix\})\s*\[[lcr|]+\])?"
    r"|\\end\s*\{(?P<closed>[a-zA-Z]+)\*?\}"
    r"|\\(?P<command>[a-zA-Z]+)"
    r"|(?P<word>[^\W\d_]+)"
    r"|(?P<sign>\\.|\*\*|<=|>=|!=|==|=>|\.\.\.+|.)",
    re.DOTALL,
)
_DIGITS = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_COMMANDS: Mapping[str, str] = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom", "leq": "<=",
    "geq": ">=", "neq": "!=", "leqslant": "<=", "geqslant": ">=", "lt": "<", "gt": ">", "lor": "or", "vee": "or",
    "land": "and", "wedge": "and", "simeq": "approx", "varnothing": "emptyset", "lvert": "vert",
    "lVert": "\\|", "rVert": "\\|", "Vert": "\\|",
    "rvert": "vert", "mid": "vert", "lbrace": "\\{", "rbrace": "\\}", "lbrack": "[", "rbrack": "]", "ast": "*",
    "div": "/", "bmod": "mod", "dots": "ldots", "cdots": "ldots", "arcsinh": "asinh", "backslash": "setminus",
    "cosec": "csc", "tg": "tan", "ctg": "cot", "arctg": "arctan", "varphi": "phi", "varepsilon": "epsilon",
    "colon": ":", "iff": "implies", "Rightarrow": "implies", "infin": "infty", "lparen": "(", "rparen": ")",
    "le": "<=", "ge": ">=", "ne": "!=", "rightarrow": "to",
    "prime": "'", "doubleprime": "'", "widehat": "hat", "overrightarrow": "vec", "top": "intercal",
}  # fmt: skip
_SIGN_COMMANDS = frozenset({"<", ">", "<=", ">=", "!=", "\\{", "\\}", "[", "]", "*", "/", ":", "(", ")", "'", "\\|"})
_SPELLED_SIGNS: Mapping[str, str] = {"==": "=", "=>": ">=", r"\&": "&"}

_FUNCTION_NAMES = (
    "sin cos tan cot sec csc arcsin arccos arctan arccot sinh cosh tanh asin acos atan ln log lg exp sqrt "
    "cbrt gcd lcm max min frac binom pi infty theta alpha beta gamma lambda phi omega sigma floor ceil "
    "abs det cis"
)
PLAIN_FUNCTIONS = frozenset(_FUNCTION_NAMES.split())
"""Words that are commands even without a backslash."""
_PLAIN_NAMES: Mapping[str, str] = {"inf": "infty", "infinity": "infty", "oo": "infty", "Infinity": "infty", "Pi": "pi"}
_NEED_BRACKET = frozenset({"min", "max", "det", "abs", "ceil", "floor"})
_WITH_CONSTANT = re.compile(r"[xyz]*[ie][xyz]+|[xyz]+[ie][xyz]*")
_LIKE_WAYS = re.compile(r"[a-z]ays?$|^[a-z]a[xy]$")
_LINK_NAMES = "st nd rd th or and in if is no of to on at by am pm mod not"
_LINKS = frozenset(_LINK_NAMES.split())


def tokenize(text: str, is_formula: bool = False) -> list[Token]:
    """Return the tokens of a cleaned text; in a formula short words are products of letters."""
    tokens: list[Token] = []
    spaced = False
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "space":
            spaced = True
            continue
        start, end = match.span()
        if kind == "plain":
            tokens.append(Token("sign", match[0], start, end, spaced))
        elif kind == "number":
            tokens.append(Token("number", match[0], start, end, spaced))
        elif kind == "word":
            tokens += _word_tokens(match[0], start, spaced, text[end : end + 1] == "(", is_formula)
        else:
            tokens += _other_token(match, spaced)
        spaced = False
    if "!=" in text:
        tokens = _with_factorials(tokens)
    return _grouped(tokens, text) if "," in text or " " in text else tokens


def _with_factorials(tokens: list[Token]) -> list[Token]:
    """Divide ``!=`` right after a number or a bracket into a factorial and an equals sign, as in ``5!=120``."""
    divided: list[Token] = []
    for token in tokens:
        before = divided[-1] if divided else None
        if token.text == "!=" and not token.spaced and before and (before.kind == "number" or before.text == ")"):
            divided.append(Token("sign", "!", token.start, token.start + 1, False))
            token = Token("sign", "=", token.end - 1, token.end, False)
        divided.append(token)
    return divided


def _other_token(match: re.Match[str], spaced: bool) -> list[Token]:
    start, end = match.span()
    if match.lastgroup == "command":
        name = _COMMANDS.get(match["command"], match["command"])
        return [Token("sign" if name in _SIGN_COMMANDS else "command", name, start, end, spaced)]
    if match.lastgroup in {"opened", "closed"}:
        edge = f"begin {match['opened']}" if match["opened"] else f"end {match['closed']}"
        return [Token("command", edge, start, end, spaced)]
    if match.lastgroup == "text":
        content = match["content"].strip()
        kind, name = _text_kind(match[0], content)
        return [Token(kind, name, start, end, spaced)] if content else []
    return [Token("sign", _SPELLED_SIGNS.get(match[0], match[0]), start, end, spaced)]


def _text_kind(whole: str, content: str) -> tuple[Kind, str]:
    r"""Return what a ``\text{}`` is: a symbol, a function or a number where it holds only that."""
    if whole.startswith(r"\mathbb"):
        return "command", f"set{content}"
    is_function = content in PLAIN_FUNCTIONS and (content not in _NEED_BRACKET or whole.startswith(r"\operatorname"))
    if is_function or content in {"or", "and", "mod"}:
        return "command", content
    if content.strip(", ") in {"or", "and"}:
        return "command", content.strip(", ")
    if len(content) == 1 and content.isalpha():
        is_upright = whole.startswith((r"\text", r"\mathrm")) and content not in {"i", "e"}
        return "text" if is_upright else "symbol", content
    return "number" if content.isascii() and _DIGITS.fullmatch(content) else "text", content


def _word_tokens(word: str, start: int, spaced: bool, is_called: bool, is_formula: bool) -> list[Token]:
    if len(word) == 1:
        return [Token("symbol" if word.isascii() else "word", word, start, start + 1, spaced)]
    kind, name = _word_kind(word, is_called, is_formula)
    if kind is not None:
        return [Token(kind, name, start, start + len(word), spaced)]
    return [
        Token("symbol", letter, start + offset, start + offset + 1, spaced and not offset)
        for offset, letter in enumerate(word)
    ]


@lru_cache(maxsize=4096)
def _word_kind(word: str, is_called: bool, is_formula: bool) -> tuple[Kind | None, str]:
    """Return what a run of letters is: a function, a word, a name in capitals; None for a product of its letters."""
    if word in _NEED_BRACKET and not is_called:
        return "word", word
    if word in PLAIN_FUNCTIONS or word in _PLAIN_NAMES:
        return "command", _PLAIN_NAMES.get(word, word)
    if word.isupper() and word.isascii():
        return "symbol", word
    if is_product_of_letters(word) or (is_formula and len(word) <= 3 and word.isascii()):
        return None, word
    return "word", word


def is_product_of_letters(word: str) -> bool:
    """Whether a run of letters is more likely a product of variables than a word."""
    if not word.isascii() or len(word) > 6 or word.lower() in _LINKS or named_unit(word) is not None:
        return False
    if len(word) == 2:
        return True
    if _LIKE_WAYS.search(word):
        return False
    if _WITH_CONSTANT.fullmatch(word):
        return True
    return not set("eiou") & set(word.lower()) and (bool(set("xyz") & set(word)) or word in "abcdfghjklmnpqrst")


def _grouped(tokens: list[Token], text: str) -> list[Token]:
    """Join groups of three digits outside brackets, or between wider separators: ``1,234`` and ``1 234``."""
    joined: list[Token] = []
    depth = int(text[0] == "{")
    separates_wider = ", " in text or ";" in text
    for token in tokens:
        if token.kind == "sign":
            depth += (token.text in {"(", "[", "\\{"}) - (token.text in {")", "]", "\\}"})
        elif token.kind == "number" and (depth == 0 or separates_wider) and _continues(joined, token):
            while joined and joined[-1].kind == "sign":
                joined.pop()
            first = joined.pop()
            token = Token("number", first.text + token.text, first.start, token.end, first.spaced)
        joined.append(token)
    return joined


def _continues(before: list[Token], token: Token) -> bool:
    """Whether a number is the next group of three digits of the number before it."""
    if len(token.text.partition(".")[0]) != 3 or not token.text[:3].isdigit() or not before:
        return False
    if before[-1].kind == "number":
        is_raised = len(before) > 1 and before[-2].text in {"^", "_"}
        return token.spaced and not is_raised and _opens_group(before[-1])
    if len(before) < 2 or before[-1].text != "," or before[-1].spaced or token.spaced:
        return False
    is_in_list = len(before) > 2 and before[-3].text == "," and not before[-2].spaced
    return not is_in_list and _opens_group(before[-2])


def _opens_group(token: Token) -> bool:
    size = token.end - token.start
    is_long = size > 3 and size == len(token.text) + (len(token.text) - 1) // 3
    return token.kind == "number" and token.text.isdigit() and token.text[0] != "0" and (size <= 3 or is_long)
