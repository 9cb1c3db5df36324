r"""What a written-out answer states: the 42 of ``The product is **42**.``, the 18 of ``18 (since 20 - 2 = 18)``.

Only English is known. A sentence that names several values, doubts, denies or asks states none.
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Final

from reasonrl_grading.answers.numbers import as_number

MAX_STATEMENT_LENGTH: Final = 400
"""Characters of a sentence that states an answer."""

_DOLLARS = r"\$\$[^$]+\$\$|\$(?!\s)(?:(?!(?<!\\)[.!?]\s)[^$\n])+(?<!\s)\$(?!\d)"
FORMULA: Final = rf"{_DOLLARS}|\\\((?:(?!\\[()]).)+\\\)|\\\[(?:(?!\\[\[\]]).)+\\\]"
"""Pattern of a formula between delimiters."""

NUMBER: Final = r"[-+\N{MINUS SIGN}]?\\?[$€£¥]?(?:[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+)(?:/[0-9]+)?"
"""Pattern of a number, with its sign and currency."""

_VALUE = rf"(?P<answer>{FORMULA}|(?<![\w.,/$^(=+*-]){NUMBER}(?:\s?(?:%|°|\\%))?(?![\w/^]|[.,][0-9]))"
_FOUND = re.compile(_VALUE, re.DOTALL)
_FORMULAS = re.compile(FORMULA, re.DOTALL)
_EMPHASIS = re.compile(rf"(?P<kept>{FORMULA})|\*\*|__|`|\\text(?:bf|it)?\s?\{{(?P<inside>[^{{}}]*)\}}", re.DOTALL)
_CONCLUDES = re.compile(
    r"[*_ \t]*(?:so|thus|therefore|hence|consequently|finally|overall|in (?:conclusion|total|all)|altogether|this gives"
    r"|(?:as a result|it follows|we conclude)\b(?: that)?|we (?:get|have|find|obtain|conclude))\b",
    re.IGNORECASE,
)
_NAMES_A_RESULT = re.compile(r"(?:the|our|its)\s\S|(?:\$[^$]{1,40}\$|\\\([^()]{1,40}\\\)|[A-Za-z])\s*\Z", re.IGNORECASE)
_VERB = re.compile(
    r"\b(?:is|are|be|equals?|becomes?|comes to|totals?|(?:there|it|she|he|they|we|i|you) (?:is|are|was|were)"
    r"|has|have|had|gets?|got|needs?|pays?|paid|earns?|earned|makes?|made|costs?|gives?|takes?|took|spends?|spent"
    r"|saves?|saved|sells?|sold|buys?|bought|uses?|used|eats?|ate|owes?|receives?|received|drives?|walks?|weighs?"
    r"|contains?|sums to|results in|yields?|obtain)\b|(?<![<>=!])=",
    re.IGNORECASE,
)
_ADVERBS = (
    r"(?:(?:therefore|thus|then|hence|simply|exactly|precisely|just|only|now|also|indeed|equal to|given by|a total of"
    r"|about|approximately|roughly|around|in total)[,:]?\s+)*"
)
_PREDICATE = re.compile(
    rf"[:\s]*{_ADVERBS}{_VALUE}(?P<after>[^0-9$\\=<>]*)(?P<rest>\b(?:for|in|at|after|with|from|every|each|on|per)\s[^=<>]*)?",
    re.IGNORECASE | re.DOTALL,
)
_LIST = re.compile(
    rf"\s*(?:given by\s)?(?P<answer>(?:{FORMULA}|{NUMBER})(?:(?:,|,? and)\s(?:{FORMULA}|{NUMBER}))+)", re.DOTALL
)
_SEVERAL = re.compile(r"\b(?:solutions|roots|values|answers|zeros)\b", re.IGNORECASE)
_CLAIM = re.compile(
    rf"(?:{_VERB.pattern})[:\s]*{_ADVERBS}(?:{FORMULA}|{NUMBER})(?:(?!\bthen\b).)*(?:\b(?:and|but|while|whereas)\b|;)",
    re.IGNORECASE | re.DOTALL,
)
_CLAUSE = re.compile(r",(?!\s(?:and|but|while|whereas)\b)|\bthen\b", re.IGNORECASE)
_WRAPPED = re.compile(r"\\text(?:bf|it)?\s?\{(?P<inside>[^{}]*)\}")
_JOINS = re.compile(r"\b(?:and|or|but)\b|[;&]|,\s", re.IGNORECASE)
_DOUBTS = re.compile(
    r"\?|\b(?:or|maybe|perhaps|possibly|either|unless|whether|suppose|supposing|unsure|unclear|impossible"
    r"|contradicts?|contradiction|unlikely)\b|\b(?:not|n't)\s(?:true|the case|possible|sure|certain)\b"
    r"|\b(?:too\s\w+|fails?|no solutions?|exceeds?|different from|try|let|let's|assum\w+|eliminat\w+|exclud\w+"
    r"|reject\w*|rul(?:e|ed|es|ing) out)\b|\bif (?:the answer|it|this|that)\b|\bif\b[^,]*\bwere\b"
    r"|\b(?:is|are|was|were|be)\s(?:\w+\s)?(?:wrong|incorrect|false|mistaken)\b"
    r"|\b(?:wrong|incorrect|mistaken|first|initial|previous|earlier|original|proposed|claimed)\s"
    r"(?:answer|guess|result|value|attempt|estimate|choice)\b",
    re.IGNORECASE,
)
_DENIES = re.compile(r"\b(?:not|never|neither|nor|cannot|but|except|without)\b|n't\b", re.IGNORECASE)
_DENIED_VERB = re.compile(r"(?:\b(?:not|never|neither|nor|cannot)|n't)\s*\Z", re.IGNORECASE)
_BOUNDS = re.compile(
    r"(?:\bat (?:least|most)|\bthan|\b(?:over|under|above|below|up to|between|minus|negative|plus|times|nearly|almost"
    r"|multiplied by|divided by|half of|step|case|part|equation|question|problem|figure|table|line|page|chapter|row"
    r"|column|round|number|item|and)|(?<!>)>|[<≤≥≠×÷+*/^\N{MINUS SIGN}-])[\s(]*\Z",
    re.IGNORECASE,
)
_FRACTION_AFTER = re.compile(r"\s*(?:and\s(?:a|one|two|three)|to|out of|of every|in every)\b", re.IGNORECASE)
_LISTED = re.compile(
    r"(?:\s?[^\W\d_]+){0,3}\s*(?:,|,?\s(?:and|or|&)|;)\s*(?:the |another |also )?\Z|\s(?:to|by|out of|of|over)\s\Z",
    re.IGNORECASE,
)
_SEVERAL_WORDS = re.compile(r"\w+\W+\w+")
_BESIDE = re.compile(r"\b(?:for|in|at|with|after|from|within|during|per|every|each|on)\s\Z", re.IGNORECASE)
_MEASURE = re.compile(
    r"\s?(?:(?:square|cubic|sq\.?|cu\.?) )?(?:(?:milli|centi|kilo|mega)?"
    r"(?:meters?|metres?|grams?|lit(?:er|re)s?|watts?|hertz|bytes?)|feet|foot|inch(?:es)?|yards?|miles?|acres?|ounces?"
    r"|pounds?|tons?|gallons?|quarts?|pints?|cups?|hours?|minutes?|seconds?|days?|weeks?|months?|years?|cents?|dollars?"
    r"|euros?|degrees?|radians?|per ?cent|per ?mille|units?|dozens?|pairs?|scores?|gross|hundreds?|thousands?|lakhs?"
    r"|crores?|hal(?:f|ves)|thirds?|quarters?|[a-z]+(?:ths?|illions?|fold)|times|squared|cubed|[A-Za-zµΩ]{1,3}(?:[/^][^\W_]{1,4})*)"
    r"(?: per (?:square |cubic )?[a-z]{1,12})?(?![^\W_])",
    re.IGNORECASE,
)
_SMALL_WORD = re.compile(
    r"\s?(?:a|an|and|are|as|at|by|do|for|he|if|in|is|it|of|off|on|out|own|so|such|than|the|to|up|was|we|who|all|any"
    r"|but|can|did|due|each|had|has|her|his|how|its|more|not|now|one|our|she|too|two|was|way|yes|you|new|old|per)\b",
    re.IGNORECASE,
)
_SUBJECT_LISTS = re.compile(rf"(?:{FORMULA}|{NUMBER})\s?[,;]", re.DOTALL)
_DIGIT = re.compile(r"[0-9]")
_WORDED = re.compile(r"[A-Za-z$\\]")
_DECIDED = re.compile(
    r"(?:(?:so|thus|therefore|hence)\b,?\s)?(?:(?:it|(?:the|this) (?:answer|statement|claim|assertion)) is\s)?"
    r"(?P<answer>yes|no|true|false|\([A-H]\))"
    r"(?:,?\s(?:because|since|as)\b.*|(?:,|\s?[:;–—-])\s(?:it|they|he|she|the|this|that|there|we)\b(?!.*\b(?:yes|no)\b).*)?",
    re.IGNORECASE | re.DOTALL,
)
_ABOUT = re.compile(
    r"\A(?:about|approximately|approx\.|roughly|around|exactly|only|just|simply)\s+(?=[-0-9$\\])", re.IGNORECASE
)
_RESTATED = re.compile(
    r"(?P<one>[^,]+),?\s(?:or|i\.e\.,?|that is,?)\s(?:equivalently,? |simply )?(?P<other>.+)", re.DOTALL
)

_APPROXIMATELY = r"(?:or |i\.e\.,? )?(?:about|approximately|approx\.?|roughly|around|nearly|≈|\\approx)"
_REMARK = re.compile(
    rf"\s*(?:\\text\{{)?\s?\(\s?(?:(?P<about>{_APPROXIMATELY})|because|since|as|rounded|to the nearest|in total"
    r"|total|not|i\.e\.|namely|which|from|using|by|see)(?![^\W\d_])(?P<inside>[^()]*(?:\([^()]*\)[^()]*)*)\)\}?\s?[.!]*\Z"
    r"|,?\s+\(?(?:because|since)\b.*|,\s+(?:as required|as desired)\b.*"
    rf"|,\s+which(?: is (?P<which>{_APPROXIMATELY})(?P<value>.*)|\b.*)"
    r"|,?\s+(?:in (?:total|all)|altogether|all together|overall|total)\s?[.!]*\Z",
    re.DOTALL | re.IGNORECASE,
)
_SPOILS = re.compile(
    r"\b(?:is|was|be|are) (?:\w+ )?(?:wrong|incorrect|false|mistaken|invalid|impossible"
    r"|not (?:right|correct|valid|the)\b)",
    re.IGNORECASE,
)
_PLAIN = re.compile(r"[0-9][0-9,]*(?:\.[0-9]+)?")
_STOP = re.compile(r"(?<!\\)[.!?]+[*_\"'”)\]}]*\s+(?=\S)|\n\s*(?=\S)")
CHOSEN: Final = re.compile(r"(?:the )?(?:option|choice|answer)\s?:?\s\(?(?P<letter>[A-Z])\)?", re.IGNORECASE)
"""A choice, as in ``option B``."""

_FINAL_MARKS = " \t\r\n.!*_"


def stated_value(answer: str) -> str:
    """Return the value that an answer states, without the sentence around it and a remark after it, or all of it.

    For rewards that compare values; a reward that compares texts takes an answer as it stands.
    """
    if len(answer) > MAX_STATEMENT_LENGTH:
        return answer
    wrapped = _WRAPPED.fullmatch(answer.strip())
    bare = _ABOUT.sub("", without_remark(wrapped["inside"] if wrapped else answer), count=1)
    if chosen := CHOSEN.fullmatch(bare.strip(_FINAL_MARKS)):
        return chosen["letter"]
    restated = _RESTATED.fullmatch(bare)
    return restated["one"] if restated and _are_same(restated["one"], restated["other"]) else stated(bare) or bare


def _are_same(one: str, other: str) -> bool:
    """Whether an answer repeats its value in another form: ``3/4, or 0.75``."""
    from reasonrl_grading import compare_answers  # it reads sentences with this module

    return compare_answers(one, other).right is True


def stated(sentence: str, *, is_conclusion: bool = False) -> str | None:
    """Return the one value that a sentence states, with its unit, or None.

    Args:
        sentence: a whole answer, or the last sentence of a text.
        is_conclusion: it is the latter, so it must begin as a conclusion does, or name what its value is.
    """
    plain = _EMPHASIS.sub(lambda found: found["kept"] or found["inside"] or "", without_remark(sentence))
    plain = plain.strip(' \t\r\n#>"“”').rstrip(" .,!:*}")
    if len(plain) > MAX_STATEMENT_LENGTH or _STOP.search(plain):
        return None
    if decided := _DECIDED.fullmatch(plain):
        return decided["answer"]
    words = _FOUND.sub(" ", plain)
    if _DOUBTS.search(words) or _claims_more(plain):
        return None
    concludes = _CONCLUDES.match(plain) is not None
    value = _predicate(plain, concludes=concludes, is_conclusion=is_conclusion)
    return _ending(plain) if value is None and concludes and is_conclusion else value


def _claims_more(sentence: str) -> bool:
    """Whether the last clause follows another that states a value, as in ``The sum is 10 and the product is 24``."""
    plain = _FORMULAS.sub("0", sentence)  # an equals sign within a formula is no verb
    verb = next(_last_verbs(plain), None)
    return verb is not None and _CLAIM.search(_CLAUSE.split(plain[: verb.start()])[-1]) is not None


def _predicate(sentence: str, *, concludes: bool, is_conclusion: bool) -> str | None:
    """Return the value that stands directly after a verb, at the end of the sentence but for its unit."""
    for verb in _last_verbs(sentence):
        subject, said = sentence[: verb.start()].strip(), _PREDICATE.fullmatch(sentence, verb.end())
        if (listed := _LIST.fullmatch(sentence, verb.end())) and verb[0] == "are" and _SEVERAL.search(subject):
            return listed["answer"]
        if said is None:
            continue
        if _DENIED_VERB.search(subject):
            return None
        is_named = not is_conclusion or _NAMES_A_RESULT.match(subject) is not None
        is_named = concludes or (is_named and verb[0] != "=")
        is_worded = _WORDED.match(subject or verb[0]) is not None and "=" not in _FOUND.sub("", subject)
        return _with_unit(said) if is_named and is_worded and not _SUBJECT_LISTS.match(subject) else None
    return None


def _last_verbs(sentence: str) -> Iterator[re.Match[str]]:
    yield from list(_VERB.finditer(sentence))[:-9:-1]


def _ending(sentence: str) -> str | None:
    """Return the value that a sentence ends with, or else the only number in it."""
    found = list(_FOUND.finditer(sentence))
    if not found:
        return None
    last, is_one = found[-1], len(found) == 1
    between = sentence[0 if is_one else found[-2].end() : last.start()]
    is_beside = not is_one and (_LISTED.fullmatch(between) or _BESIDE.search(between))
    said = _PREDICATE.fullmatch(sentence, last.start())
    if said is None or is_beside or _BOUNDS.search(between) or _is_denied(sentence, last.start()):
        return None
    is_only = is_one and not _DIGIT.search(_FOUND.sub("", sentence)) and _SEVERAL_WORDS.search(between) is not None
    return _with_unit(said) if is_only or _is_unit(said["after"]) else None


def _is_denied(sentence: str, start: int) -> bool:
    """Whether the last verb before a value, or what stands between them, is negated."""
    verb = next((verb for verb in _last_verbs(sentence) if verb.end() <= start), None)
    if verb is None:
        return _DENIES.search(sentence) is not None
    return _DENIES.search(sentence, verb.end()) is not None or _DENIED_VERB.search(sentence[: verb.start()]) is not None


def _is_unit(after: str) -> bool:
    return not after.strip() or len(after.split()) == 1 or _MEASURE.fullmatch(after) is not None


def _with_unit(said: re.Match[str]) -> str | None:
    """Return a value with the unit after it; what is counted, as in ``12 ways``, is no unit."""
    after = said["after"].rstrip()
    if _FRACTION_AFTER.match(after) or _DENIES.search(after) or _JOINS.search(said["rest"] or ""):
        return None
    unit = None if _SMALL_WORD.match(after) else _MEASURE.match(after)
    return said["answer"] + (unit[0] if unit else "")


def without_remark(answer: str) -> str:
    """Return an answer without a remark that follows it: ``since ...``, ``(about 3.14)``, ``in total``.

    A remark about another value, such as the 8 of ``7 (about 8)``, is not removed.
    """
    remark = _REMARK.search(answer)
    if remark is None or not answer[: remark.start()].strip() or _SPOILS.search(remark[0]):
        return answer
    bare = answer[: remark.start()].rstrip(" ,")
    about = remark["inside"] if remark["about"] else remark["value"] if remark["which"] else None
    return bare if about is None or _is_near(bare, about) else answer


def _is_near(answer: str, remark: str) -> bool:
    """Whether an answer and the first number of a remark are one number, rounded or cut; unknown without numbers."""
    value, about = as_number(re.split(r"(?<=[0-9])\s", answer)[0]), _PLAIN.search(remark)
    if value is None or about is None:
        return about is not None
    exact, rounded = abs(value), Fraction(about[0].replace(",", ""))
    step = Fraction(1, 10 ** len(about[0].partition(".")[2]))
    is_rounded_further = exact.denominator == 1 and abs(exact - rounded) < 1
    return is_rounded_further or abs(exact - rounded) * 2 <= step or 0 <= exact - rounded < step
