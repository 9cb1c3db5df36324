"""The checks of IFEval's own program, where those of ``ifeval.py`` ask for more than an empty form.

Read from google-research/instruction_following_eval/instructions.py. Two of its parts are models of other packages and
are replaced, so that a figure may differ from theirs by what these decide: NLTK's sentences and words by the rules of
``tokens.py``, and langdetect by py3langid.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from reasonrl_grading.instructions.ifeval import CHECKS, CONSTRAINED, Relation, relates
from reasonrl_grading.instructions.tokens import sentences_of, word_tokens

_POSTSCRIPTS = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}


def response_language(response: str, *, language: str) -> bool:
    """The response is in a language, or in none that can be told."""
    return not _has_letters(response) or CHECKS["language:response_language"](response, language=language)


def _has_letters(text: str) -> bool:
    return any(map(str.isalpha, text))


def number_sentences(response: str, *, num_sentences: int, relation: Relation) -> bool:
    """There are many, or few, enough sentences; the end of a line ends none."""
    return relates(len(sentences_of(response)), num_sentences, relation)


def nth_paragraph_first_word(response: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """As ``ifeval.py``'s, but the paragraph is counted with empty ones, and its word may not be emphasized."""
    paragraphs = response.split("\n\n")
    num_full = sum(bool(part.strip()) for part in paragraphs)
    if nth_paragraph > num_full or not 1 <= nth_paragraph <= len(paragraphs):
        return False
    words = paragraphs[nth_paragraph - 1].split()
    first = re.split(r"[.,?!'\"]", words[0].lstrip("'").lstrip('"'))[0] if words else ""
    return num_full == num_paragraphs and first.lower() == first_word.lower()


def number_placeholders(response: str, *, num_placeholders: int) -> bool:
    """There are enough square brackets, with anything between them."""
    closed = (part for line in response.split("\n") for part in line.split("]")[:-1])
    return sum("[" in part for part in closed) >= num_placeholders


def postscript(response: str, *, postscript_marker: str) -> bool:
    """The marker of a postscript occurs."""
    marker = postscript_marker.strip()
    pattern = _POSTSCRIPTS.get(marker, re.escape(marker.lower()))
    return re.search(pattern, response.lower()) is not None


def number_bullet_lists(response: str, *, num_bullets: int) -> bool:
    """So many lines begin with ``-``, or with ``*`` and no second one."""
    begun = (line.lstrip()[:2] for line in response.split("\n"))
    return sum(start[:1] == "-" or (start[:1] == "*" and start[1:] not in ("", "*")) for start in begun) == num_bullets


def constrained_response(response: str) -> bool:
    """The response has one of the three answers allowed, perhaps beside another."""
    return any(answer in response for answer in CONSTRAINED)


def number_highlighted_sections(response: str, *, num_highlights: int) -> bool:
    """Enough passages stand between asterisks; one between two pairs counts once for each form that it is found in."""
    single = sum(bool(text.strip("*").strip()) for text in re.findall(r"\*[^\n\*]*\*", response))
    double = sum(bool(text[2:-2].strip()) for text in re.findall(r"\*\*[^\n\*]*\*\*", response))
    return single + double >= num_highlights


def title(response: str) -> bool:
    """There is a title in ``<<double angular brackets>>``."""
    return any(map(_titled, response.split("\n")))


def _titled(line: str) -> str:
    """Return what stands between the first opening and the last closing brackets of a line, or nothing."""
    start, end = line.find("<<"), line.rfind(">>")
    return line[start:end].lstrip("<").rstrip(">").strip() if -1 < start < end else ""


def capital_word_frequency(response: str, *, capital_frequency: int, capital_relation: Relation) -> bool:
    """Often, or seldom, enough a token of the Penn Treebank's kind is in capital letters."""
    return relates(sum(map(str.isupper, word_tokens(response))), capital_frequency, capital_relation)


def no_comma(response: str) -> bool:
    """There is no comma of the Latin script."""
    return "," not in response


def quotation(response: str) -> bool:
    """Double quotation marks stand at both ends."""
    bare = response.strip()
    return len(bare) > 1 and bare[0] == bare[-1] == '"'


PUBLISHED: Final[Mapping[str, Callable[..., bool]]] = {
    **CHECKS,
    "change_case:capital_word_frequency": capital_word_frequency,
    "detectable_content:number_placeholders": number_placeholders,
    "detectable_content:postscript": postscript,
    "detectable_format:constrained_response": constrained_response,
    "detectable_format:number_bullet_lists": number_bullet_lists,
    "detectable_format:number_highlighted_sections": number_highlighted_sections,
    "detectable_format:title": title,
    "language:response_language": response_language,
    "length_constraints:nth_paragraph_first_word": nth_paragraph_first_word,
    "length_constraints:number_sentences": number_sentences,
    "punctuation:no_comma": no_comma,
    "startend:quotation": quotation,
}
"""What each instruction asks, by IFEval's id."""
