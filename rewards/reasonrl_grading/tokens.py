r"""Split an answer into tokens: Unicode signs become LaTeX, layout is dropped, digit groups are joined.

Answers in LaTeX, in plain text and in a mixture of both give the same kinds of tokens.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, Literal, NamedTuple, TypeAlias

from reasonrl_grading.units import named_unit

MAX_LENGTH: Final = 4096
"""Characters of an answer that is read."""

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


_GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho varsigma sigma tau"
_SIGNS: Mapping[str, str] = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ",
    "∗": "*", "÷": "/", "∕": "/", "⁄": "/", "√": r"\sqrt ", "∛": r"\cbrt ", "∞": r"\infty ", "≤": r"\le ",
    "≥": r"\ge ", "⩽": r"\le ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "≡": r"\equiv ", "±": r"\pm ",
    "∓": r"\mp ", "∪": r"\cup ", "∩": r"\cap ", "∖": r"\setminus ", "∈": r"\in ", "∅": r"\emptyset ",
    "∠": r"\angle ", "△": r"\triangle ", "⊥": r"\perp ", "∥": r"\parallel ", "ℝ": r"\mathbb{R}",
    "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}", "∫": r"\int ", "∑": r"\sum ",
    "∏": r"\prod ", "º": "°", "˚": "°", "′": "'", "’": "'", "‘": "'", "“": '"', "”": '"', "…": r"\ldots ",
    "⟨": r"\langle ", "⟩": r"\rangle ", "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ",
    "→": r"\to ", "ℎ": "h", "ϕ": r"\phi ", "ϵ": r"\epsilon ", "µ": "μ", "℃": "°C",
    "℉": "°F", "⇒": r"\implies ", "，": ", ",
    "（": "(", "）": ")",
    "：": ":", "；": ";", "。": ".", "＝": "=", "＋": "+", "－": "-", "％": "%", "＜": "<", "＞": ">", "｜": "|",
    "\u200b": "", "\ufeff": "", "\u2061": "", "\u2062": "", "、": ", ", "𝑥": "x", "𝑦": "y", "𝑖": "i", "𝑒": "e",
}  # fmt: skip
_VULGAR: Mapping[str, str] = {
    "½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅖": "2/5", "⅗": "3/5", "⅘": "4/5",
    "⅙": "1/6", "⅚": "5/6", "⅐": "1/7", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8", "⅞": "7/8", "⅑": "1/9", "⅒": "1/10",
}  # fmt: skip


def _translations() -> dict[int, str]:
    table = {ord(sign): spelled for sign, spelled in _SIGNS.items()}
    for offset, name in enumerate([*_GREEK.split(), "upsilon", "phi", "chi", "psi", "omega"]):
        table[0x3B1 + offset] = rf"\{name} "
        if name not in {"varsigma", "omicron"}:
            table[0x391 + offset] = rf"\{name.capitalize()} "
    del table[ord("μ")]
    for sign, fraction in _VULGAR.items():
        table[ord(sign)] = r" \frac{{{}}}{{{}}}".format(*fraction.split("/"))
    for digit in range(10):
        table[0xFF10 + digit] = str(digit)
    return table | dict.fromkeys([0xA0, 0x202F, 0x2009, 0x200A, 0x2002, 0x2003, 0x3000], " ")


_TRANSLATIONS = _translations()
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_LOWERED = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋ₙ", "0123456789+-n")
_RAISED_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+")
_LOWERED_RUN = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋ₙ]+")

_LAYOUT = re.compile(
    r"\\(?:left|right|middle)(?![a-zA-Z])(?:\s*\.)?|\\[bB]igg?[lrm]?(?![a-zA-Z])|\\!"
    r"|\\(?:displaystyle|textstyle|scriptstyle|limits|nolimits|mathstrut|strut|centering|hfill|nonumber|tiny|small|normalsize|large|Large|LARGE|huge|Huge)(?![a-zA-Z])"
)
_SPACING = re.compile(
    r"(?<!\\)\\[,;:> \n]|(?<!\\)\\[()\[\]]|(?<=\\\\)\[[0-9.]+[a-z]{2}\]"
    r"|\\(?:quad|qquad|enspace|thinspace|medspace|newline)"
    r"(?![a-zA-Z])"
    r"|\\[hv]?(?:space|phantom)\*?\{[^{}]*\}|~"
)
_DEGREE = re.compile(r"\{\}\s*(?=\^)|\^\s*\{?\s*\\circ(?![a-zA-Z])\s*\}?|\\(?:degree|textdegree|degrees)(?![a-zA-Z])")
_TEMPERATURE = re.compile(r"°\s*(?:\\(?:text|mathrm)\{\s*([CF])\s*\}|([CF])\b)")
_ORDINAL = re.compile(r"\^\s*\{?\s*\\(?:text|mathrm|textrm)\{\s*(st|nd|rd|th)\s*\}\s*\}?|\^\{(st|nd|rd|th)\}")
_WHOLE_BOX = re.compile(r"\s*\$*\s*\\boxed\s*(\{.*\})\s*\$*[.]?\s*", re.DOTALL)
_BOX = re.compile(r"\\(?:boxed|fbox)(?=\s*\{)")
_SPACE = re.compile(r"\s+")
_TRAILING = re.compile(r"(?:(?<!\.)[.]|[;,:]|\\\\|\s)+$")
_SHORT_FIRST = re.compile(r"(\\(?:[dtc]?frac|[dt]?binom))\s*([0-9])(?=\s*[0-9{\\a-zA-Z])")
_SHORT_SECOND = re.compile(r"(\\(?:[dtc]?frac|[dt]?binom)\s*\{[^{}]*\})\s*([0-9])")
_FRAMES = ("**", "__", "*", "`", '"')
_TEXT_WHOLE = re.compile(r"\\(?:text(?:bf|it|rm)?|mathrm|mathbf|mbox)\{([^{}]*)\}")
_UNIT_QUOTIENT = re.compile(
    r"\\[dt]?frac\s*\{\s*(\\(?:text|mathrm)\{[^{}]*\})\s*\}"
    r"\s*\{\s*(\\(?:text|mathrm)\{[^{}]*\}"
    r"(?:\s*\^\s*\{?[0-9]\}?)?)\s*\}"
)
_SET_DIFFERENCE = re.compile(r"-\s*(?=\\\{)")
_REVERSED = re.compile(r"([\[\]])([^\[\](),]*,[^\[\](),]*)([\[\]])")
_HAS_REVERSED = re.compile(r"\[\s*$|^\s*\]|\[\s*\\cup|\\cup\s*\]")
_PRICE = re.compile(r"\$\s*[0-9.]")
_MONEY = re.compile(r"\\\$\s*")


def clean(text: str) -> str:
    """Return an answer without layout and frames: dollar signs, bold stars, boxes, spacing."""
    if not text.isascii():
        text = _in_ascii(text)
    if "boxed" in text:
        text = _unboxed(text)
    if "\\" in text or "$" in text or "{" in text or "°" in text or "~" in text:
        text = _without_layout(text)
    text = _unframed(text)
    return _REVERSED.sub(_turned, text) if _HAS_REVERSED.search(text) else text


def _turned(interval: re.Match[str]) -> str:
    """Return an interval written with reversed square brackets, ``]1,2[``, with round ones."""
    return ("[" if interval[1] == "[" else "(") + interval[2] + ("]" if interval[3] == "]" else ")")


def _unboxed(text: str) -> str:
    """Return the content of a box that is the whole answer."""
    while (box := _WHOLE_BOX.fullmatch(text)) and _closes_at_end(box[1]):
        text = box[1][1:-1]
    return text


def _in_ascii(text: str) -> str:
    """Return the text with Unicode math signs spelled as LaTeX."""
    text = _RAISED_RUN.sub(lambda run: "^{" + run[0].translate(_RAISED) + "}", text)
    text = _LOWERED_RUN.sub(lambda run: "_{" + run[0].translate(_LOWERED) + "}", text)
    return text.translate(_TRANSLATIONS)


def _without_layout(text: str) -> str:
    """Return LaTeX without spacing, bracket sizes and the dollar signs that delimit formulas."""
    if "dollar" in text:
        text = text.replace(r"\textdollar", r"\$")
    if "\\boxed" in text or "\\fbox" in text:
        text = _BOX.sub("", text)
    text = _SPACING.sub(" ", _LAYOUT.sub("", text)).replace("{,}", ",").replace("{.}", ".")
    if "circ" in text or "degree" in text or "°" in text or "^" in text:
        text = _ORDINAL.sub(r" \\text{\1\2}", _TEMPERATURE.sub(r"\\text{deg\1\2}", _DEGREE.sub("°", text)))
    if "frac" in text or "binom" in text:
        text = _UNIT_QUOTIENT.sub(r"\1/\2", text)
        text = _SHORT_SECOND.sub(r"\1{\2}", _SHORT_FIRST.sub(r"\1{\2}", text))
    if "\\{" in text:
        text = _SET_DIFFERENCE.sub(r"\\setminus ", text)
    if "$" in text:
        text = _MONEY.sub("\x00", text)
        if text.count("$") != 1 or _PRICE.search(text) is None:
            text = text.replace("$", " ")
        text = text.replace("\x00", "$")
    return text.replace(r"\%", "%").replace(r"\#", "#").replace(r"\_", "_")


def _unframed(text: str) -> str:
    text = text.strip()
    while text:
        inner = _without_frame(_without_end(text)).strip()
        if inner == text:
            break
        text = inner
    return text


def _without_end(text: str) -> str:
    """Return the text without final punctuation; three dots are not punctuation."""
    if text[-1] not in ".;,:\\" or text.endswith(("...", r"\\}")):
        return text
    return _TRAILING.sub("", text)


def _without_frame(text: str) -> str:
    r"""Return the text without one frame: stars, back ticks, quotes, braces, or a ``\text{}`` of more than one word."""
    if len(text) < 3:
        return text
    for sign in _FRAMES:
        if text.startswith(sign) and text.endswith(sign) and sign not in text[len(sign) : -len(sign)]:
            return text[len(sign) : -len(sign)]
    if text[0] == "\\" and (whole := _TEXT_WHOLE.fullmatch(text)) and not whole[1].strip().isalpha():
        return whole[1]
    is_braced = text[0] == "{" and text[-1] == "}" and "," not in text and _closes_at_end(text)
    return text[1:-1] if is_braced else text


def _closes_at_end(text: str) -> bool:
    depth = 0
    for position, letter in enumerate(text):
        depth += (letter == "{") - (letter == "}")
        if depth == 0:
            return position == len(text) - 1
    return False


_TOKEN = re.compile(
    r"(?P<plain>[-+/()^_{},;|&%:\[\]]|=(?![=>])|\*(?!\*)|!(?!=)|[<>](?!=))"
    r"|(?P<space>\s+)"
    r"|(?P<text>\\(?:text(?:bf|it|rm|sf|tt|normal|up)?|math(?:rm|bf|it|sf|cal|bb|frak|scr)|mbox|hbox|operatorname\*?"
    r"|boldsymbol|bm|emph)\s*\{(?P<content>(?:[^{}]|\{[^{}]*\})*)\})"
    r"|(?P<number>(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,6}(?![a-zA-Z0-9.]))?)"
    r"|\\(?P<edge>begin|end)\s*\{(?P<environment>[a-zA-Z]+)\*?\}(?:\s*\{[lcr|@ ]*\})?"
    r"|\\(?P<command>[a-zA-Z]+)"
    r"|(?P<word>[^\W\d_]+)"
    r"|(?P<sign>\\.|\*\*|<=|>=|!=|==|=>|\.\.\.+|.)",
    re.DOTALL,
)
_COMMANDS: Mapping[str, str] = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom", "leq": "<=",
    "geq": ">=", "neq": "!=", "leqslant": "<=", "geqslant": ">=", "lt": "<", "gt": ">", "lor": "or", "vee": "or",
    "land": "and", "wedge": "and", "simeq": "approx", "varnothing": "emptyset", "lvert": "vert",
    "rvert": "vert", "mid": "vert", "lbrace": "\\{", "rbrace": "\\}", "lbrack": "[", "rbrack": "]", "ast": "*",
    "div": "/", "bmod": "mod", "dots": "ldots", "cdots": "ldots", "arcsinh": "asinh", "backslash": "setminus",
    "cosec": "csc", "tg": "tan", "ctg": "cot", "arctg": "arctan", "varphi": "phi", "varepsilon": "epsilon",
    "colon": ":", "iff": "implies", "Rightarrow": "implies", "infin": "infty", "lparen": "(", "rparen": ")",
    "le": "<=", "ge": ">=", "ne": "!=", "rightarrow": "to",
    "prime": "'", "doubleprime": "'", "widehat": "hat", "overrightarrow": "vec", "top": "intercal",
}  # fmt: skip
_SIGN_COMMANDS = frozenset({"<", ">", "<=", ">=", "!=", "\\{", "\\}", "[", "]", "*", "/", ":", "(", ")", "'"})
_SPELLED_SIGNS: Mapping[str, str] = {r"\|": "|", "==": "=", "=>": ">=", r"\&": "&"}

_FUNCTION_NAMES = (
    "sin cos tan cot sec csc arcsin arccos arctan arccot sinh cosh tanh asin acos atan ln log lg exp sqrt "
    "cbrt gcd lcm max min frac binom pi infty theta alpha beta gamma lambda phi omega sigma floor ceil "
    "abs det cis"
)
PLAIN_FUNCTIONS = frozenset(_FUNCTION_NAMES.split())
"""Words that are commands even without a backslash."""
_PLAIN_NAMES: Mapping[str, str] = {"inf": "infty", "infinity": "infty", "oo": "infty", "Infinity": "infty", "Pi": "pi"}
_NEED_BRACKET = frozenset({"min", "max", "det", "abs", "ceil", "floor"})
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
    return _grouped(tokens, text) if "," in text or " " in text else tokens


def _other_token(match: re.Match[str], spaced: bool) -> list[Token]:
    start, end = match.span()
    if match.lastgroup == "command":
        name = _COMMANDS.get(match["command"], match["command"])
        return [Token("sign" if name in _SIGN_COMMANDS else "command", name, start, end, spaced)]
    if match.lastgroup == "environment":
        return [Token("command", f"{match['edge']} {match['environment']}", start, end, spaced)]
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
    return "number" if content.isascii() and content.isdigit() else "text", content


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
        return token.spaced and _opens_group(before[-1])
    if len(before) < 2 or before[-1].text != "," or before[-1].spaced or token.spaced:
        return False
    is_in_list = len(before) > 2 and before[-3].text == "," and not before[-2].spaced
    return not is_in_list and _opens_group(before[-2])


def _opens_group(token: Token) -> bool:
    size = token.end - token.start
    is_long = size > 3 and size == len(token.text) + (len(token.text) - 1) // 3
    return token.kind == "number" and token.text.isdigit() and token.text[0] != "0" and (size <= 3 or is_long)
