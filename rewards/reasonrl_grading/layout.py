r"""Clean an answer before it is read: Unicode signs become LaTeX, and layout, frames and final punctuation are dropped.

What is dropped carries no meaning: spacing, sizes, colors, dollar signs around formulas, bold stars, boxes.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Final

MAX_LENGTH: Final = 4096
"""Characters of an answer that is read."""

MAX_FRAMES: Final = 20
"""Boxes, braces and other frames around an answer that are dropped."""

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
    "→": r"\to ", "∴": r"\therefore ", "■": r"\blacksquare ", "∎": r"\blacksquare ", "✓": r"\checkmark ",
    "✔": r"\checkmark ", "✅": r"\checkmark ", "ℎ": "h", "ϕ": r"\phi ", "ϵ": r"\epsilon ", "µ": "μ", "℃": "°C",
    "℉": "°F", "⇒": r"\implies ", "，": ", ",
    "（": "(", "）": ")",
    "：": ":", "；": ";", "。": ".", "＝": "=", "＋": "+", "－": "-", "％": "%", "＜": "<", "＞": ">", "｜": "|",
    "‖": r"\| ", "∶": ":", "‰": " permille", "\u200b": "", "\ufeff": "", "\u2061": "", "\u2062": "", "、": ", ",
}  # fmt: skip
_VULGAR: Mapping[str, str] = {
    "½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅖": "2/5", "⅗": "3/5", "⅘": "4/5",
    "⅙": "1/6", "⅚": "5/6", "⅐": "1/7", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8", "⅞": "7/8", "⅑": "1/9", "⅒": "1/10",
}  # fmt: skip


def _translations() -> dict[int, str]:
    table = {ord(sign): spelled for sign, spelled in _SIGNS.items()}
    styled = {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0x1D400, 0x1D800)}
    for offset, name in enumerate([*_GREEK.split(), "upsilon", "phi", "chi", "psi", "omega"]):
        table[0x3B1 + offset] = rf"\{name} "
        if name not in {"varsigma", "omicron"}:
            table[0x391 + offset] = rf"\{name.capitalize()} "
    del table[ord("μ")]
    for sign, fraction in _VULGAR.items():
        table[ord(sign)] = r" \frac{{{}}}{{{}}}".format(*fraction.split("/"))
    for digit in range(10):
        table[0xFF10 + digit] = str(digit)
    table |= {code: table.get(ord(letter), letter) for code, letter in styled.items() if len(letter) == 1}
    return table | dict.fromkeys([0xA0, 0x202F, 0x2009, 0x200A, 0x2002, 0x2003, 0x3000], " ")


_TRANSLATIONS = _translations()
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿˣʸᵏᵐᵗ", "0123456789+-()nxykmt")
_LOWERED = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋ₙ", "0123456789+-n")
_RAISED_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿˣʸᵏᵐᵗ]+")
_LOWERED_RUN = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋ₙ]+")

_ANGLE = re.compile(r"(?<=[0-9a-zA-Z})])\s*(?:\\text\s*\{\s*degrees?\s*\}|(?<![a-zA-Z])degrees?(?![a-zA-Z]))")
_HAS_ANGLE = re.compile(r"(?:sin|cos|tan|cot|sec|csc|cis)(?![a-z]).*degree", re.DOTALL)
_COLOR = re.compile(
    r"\\(?:text|math)?color(?:box)?\s*"
    r"(?:\[(?:rgb|RGB|HTML|gray|cmyk)\]\s*\{[0-9A-Fa-f., ]*\}|\{\s*[a-zA-Z][a-zA-Z0-9!-]*\s*\})"
)
_SIGNED_SET = r"(\\mathbb\s*\{\s*[RZQN])\s*\}\s*[\^_]\s*(?:\{\s*([+*-])\s*\}|([+*-])(?![0-9a-zA-Z(\\{]))"
_UNIT_QUOTIENT = (
    r"\\frac\s*\{\s*(\\(?:text|mathrm)\{[^{}]*\})\s*\}"
    r"\s*\{\s*(\\(?:text|mathrm)\{[^{}]*\}(?:\s*\^\s*\{?[0-9]\}?)?)\s*\}"
)
_LAYOUT = (
    r"\\(?:left|right|middle)(?![a-zA-Z])(?:\s*\.)?|\\[bB]igg?[lrm]?(?![a-zA-Z])|\\!"
    r"|\\(?:displaystyle|textstyle|scriptstyle|limits|nolimits|mathstrut|strut|centering|hfill|nonumber|tiny|small"
    r"|normalsize|large|Large|LARGE|huge|Huge)(?![a-zA-Z])"
)
_SPACING = (
    r"(?<!\\)\\[,;:> \n]|(?<!\\)\\[()\[\]]|(?<=\\\\)\[[0-9.]+[a-z]{2}\]"
    r"|\\(?:quad|qquad|enspace|thinspace|medspace|newline)"
    r"(?![a-zA-Z])"
    r"|\\[hv]?(?:space|phantom)\*?\{[^{}]*\}"
)
_BRACED_LINES = (
    r"\\left\s*(?:\\\{|\\lbrace|\.)\s*\\begin\s*\{"
    r"(?:(?:array|alignedat)\}(?:\s*\[[a-z]\])?\s*\{(?:[lcr|@!>< 0-9]|\{[^{}0-9]*\})*\}"
    r"|(?:aligned|matrix|split|gathered)\*?\}(?:\s*\[[a-z]\])?)"
    r"((?:(?!\\begin|\\end).)*)\\end\s*\{(?:array|alignedat|aligned|matrix|split|gathered)\*?\}"
    r"\s*\\right\s*(?:\.|\\\}|\\rbrace)"
)
_REWRITES: tuple[tuple[str, re.Pattern[str], str], ...] = tuple(
    (needed, re.compile(pattern, re.DOTALL), replacement)
    for needed, pattern, replacement in (
        # what the text must contain, what is replaced, by what
        ("\\textdollar", r"\\textdollar(?![a-zA-Z])", r"\\$"),
        ("box", r"\\(?:boxed|fbox)(?=\s*\{)", ""),
        ("\\left", _BRACED_LINES, r"\\begin{cases}\1\\end{cases}"),
        ("\\begin", r"\\(?:hline|notag|nonumber)(?![a-zA-Z])|\\(?:cline|label|tag)\*?\s*\{[^{}]*\}", ""),
        ("\\begin", r"\\(?:cr|tabularnewline)(?![a-zA-Z])", r"\\\\"),
        ("color", _COLOR.pattern, ""),
        ("\\mathbb", _SIGNED_SET, r"\1\2\3}"),
        ("\\not", r"\\not\s*=", r"\\ne "),
        ("\\not", r"\\not\s*\\in(?![a-zA-Z])", r"\\notin "),
        (",", r"(?<=[0-9]),\s*\\[!,;: ]\s*(?=[0-9]{3}(?![0-9]))|(?<=[0-9])\{,\}\s*(?=[0-9])", ","),
        ("\\", _LAYOUT, ""),
        ("\\", _SPACING, " "),
        ("~", "~", " "),
        ("{,}", r"\{,\}", ","),
        ("{.}", r"\{\.\}", "."),
        ("{", r"\\(?:boldsymbol|bm|pmb|ensuremath)\s*(?=\{)|\\math(?:bf|it|sf|tt|normal)\s*(?=\{\s*[\\0-9+-])", ""),
        ("mod", r"\\(?:text|mathrm|mbox|textrm)\s*\{\s*(\(?)\s*mod(?:ulo)?\b\s*([^{}]*)\}", r"\1\\mod \2"),
        ("{}", r"\{\}\s*(?=\^)", ""),
        ("circ", r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-zA-Z]))", "°"),
        ("degree", r"\\(?:degree|textdegree|degrees)(?![a-zA-Z])", "°"),
        ("°", r"°\s*(?:\\(?:text|mathrm)\{\s*([CF])\s*\}|([CF])\b)", r"\\text{deg\1\2}"),
        (
            "^",
            r"\^\s*\{?\s*\\(?:text|mathrm|textrm)\{\s*(st|nd|rd|th)\s*\}\s*\}?|\^\{(st|nd|rd|th)\}",
            r" \\text{\1\2}",
        ),
        ("frac", r"\\(?:[dtcsx]|nice|flat)frac(?![a-zA-Z])", r"\\frac"),
        ("frac", _UNIT_QUOTIENT, r"\1/\2"),
        ("\\", r"(\\(?:frac|[dt]?binom))\s*([0-9])(?=\s*[0-9{\\a-zA-Z])", r"\1{\2}"),
        ("\\", r"(\\(?:frac|[dt]?binom)\s*\{[^{}]*\})\s*([0-9])", r"\1{\2}"),
        ("\\{", r"-\s*(?=\\\{)", r"\\setminus "),
    )
)
"""Spellings that become another one, in this order."""
_WHOLE = re.compile(
    rf"\s*\$*\s*(?:\\(?:boxed|fbox|ensuremath|boldsymbol|bm|pmb|math(?:bf|it|sf|tt|normal)|[lL]arge|LARGE|[hH]uge)|{_COLOR.pattern})"
    r"\s*(\{.*\})\s*\$*[.]?\s*",
    re.DOTALL,
)
_COLORED_GROUP = re.compile(r"\{\s*" + _COLOR.pattern)
_OPENER = re.compile(r"\s*\$*\s*\\(?:therefore|implies|Rightarrow|Longrightarrow)(?![a-zA-Z])\s*(?=.)", re.DOTALL)
_CLOSER = re.compile(r"(?<=\S)\s*\\(?:blacksquare|qed|checkmark)(?![a-zA-Z])\s*\$*\s*$")
_FRAMES = ("**", "__", "*", "`", '"')
_FRAME_STARTS = frozenset('*_`"\\{')
_TEXT_WHOLE = re.compile(r"\\(?:text(?:bf|it|rm)?|mathrm|mathbf|mbox)\{([^{}]*)\}")
_REVERSED = re.compile(r"([\[\]])([^\[\](),]*,[^\[\](),]*)([\[\]])")
_HAS_REVERSED = re.compile(r"\[\s*$|^\s*\]|\[\s*\\cup|\\cup\s*\]")
_PRICE = re.compile(r"\$\s*[0-9.]")
_MONEY = re.compile(r"\\\$\s*")


def clean(text: str) -> str:
    """Return an answer without layout and frames: dollar signs, bold stars, boxes, spacing."""
    if not text.isascii():
        text = _in_ascii(text)
    if "\\" in text:
        opener = _OPENER.match(text)
        text = text[opener.end() :] if opener else text
        if "\\blacksquare" in text or "\\qed" in text or "\\checkmark" in text:
            text = _CLOSER.sub("", text)
        text = _unwrapped(text)
    if "\\" in text or "$" in text or "{" in text or "°" in text or "~" in text:
        text = _without_layout(text)
    if "degree" in text and _HAS_ANGLE.search(text):
        text = _ANGLE.sub("°", text)
    text = _unframed(text)
    if text.startswith("=") and text[1:2] not in {"=", ">"}:
        text = text[1:].lstrip()
    has_brackets = "[" in text or "]" in text
    return _REVERSED.sub(_turned, text) if has_brackets and _HAS_REVERSED.search(text) else text


def _turned(interval: re.Match[str]) -> str:
    """Return an interval written with reversed square brackets, ``]1,2[``, with round ones."""
    return ("[" if interval[1] == "[" else "(") + interval[2] + ("]" if interval[3] == "]" else ")")


def _unwrapped(text: str) -> str:
    """Return the content of a box, color or font that the whole answer is in."""
    for _ in range(MAX_FRAMES):
        whole, bare = _WHOLE.fullmatch(text), text.strip()
        colored = None if whole else _COLORED_GROUP.match(bare)
        if whole is not None and _closes_at_end(whole[1]):
            inner = whole[1][1:-1].strip()
            text = inner[1:-1] if inner.startswith("{") and _closes_at_end(inner) else inner
        elif colored is not None and _closes_at_end(bare):
            text = bare[colored.end() : -1]
        else:
            break
    return text


def _in_ascii(text: str) -> str:
    """Return the text with Unicode math signs spelled as LaTeX."""
    text = _RAISED_RUN.sub(lambda run: "^{" + run[0].translate(_RAISED) + "}", text)
    text = _LOWERED_RUN.sub(lambda run: "_{" + run[0].translate(_LOWERED) + "}", text)
    return text.translate(_TRANSLATIONS)


def _without_layout(text: str) -> str:
    """Return LaTeX without spacing, bracket sizes and the dollar signs that delimit formulas."""
    for needed, pattern, replacement in _REWRITES:
        if needed in text:
            text = pattern.sub(replacement, text)
    if "$" in text:
        text = _without_delimiters(text)
    return text.replace(r"\%", "%").replace(r"\#", "#").replace(r"\_", "_")


def _without_delimiters(text: str) -> str:
    """Return the text without the dollar signs around formulas; the only one, before a number, is a currency."""
    text = _MONEY.sub("\x00", text)
    if text.count("$") != 1 or _PRICE.search(text) is None:
        text = text.replace("$", " ")
    return text.replace("\x00", "$")


def _unframed(text: str) -> str:
    text = text.strip()
    if text and text[0] not in _FRAME_STARTS and text[-1].isalnum():
        return text
    for _ in range(MAX_FRAMES):
        inner = _without_frame(_without_end(text)).strip() if text else text
        if inner == text:
            break
        text = inner
    return text


def _without_end(text: str) -> str:
    """Return the text without final punctuation; three dots are not punctuation."""
    if text.endswith(("...", r"\\}")):
        return text
    end = len(text)
    while end:
        last = text[end - 1]
        if last in ";,:" or last.isspace() or (last == "." and text[end - 2 : end - 1] != "."):
            end -= 1
        elif text.endswith("\\\\", 0, end):
            end -= 2
        else:
            break
    return text[:end]


def _without_frame(text: str) -> str:
    r"""Return the text without one frame: stars, back ticks, quotes, braces, or a ``\text{}`` of more than one word."""
    if len(text) < 3:
        return text
    for sign in _FRAMES if text[0] == text[-1] else ():
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
