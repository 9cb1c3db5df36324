"""The 25 instructions of IFEval by their published ids; each is a function of the response and its arguments."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Final, Literal, TypeAlias

from reasonrl_grading.languages import language_of

Relation: TypeAlias = Literal["at least", "less than"]

_WORD = re.compile(r"\w+")
_TOKEN = re.compile(r"\w+(?:['’-]\w+)*")
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s|\Z)|[。！？]")
_ABBREVIATION = re.compile(r"(?:\b(?i:mr|mrs|ms|dr|prof|st|vs|e\.g|i\.e|fig|jr|sr)|\b[A-HJ-Z]|^\s*\d{1,3})$")
_OPENING_MARKS = "'\"“‘*_"
CONSTRAINED: Final = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def relates(count: int, wanted: int, relation: Relation) -> bool:
    """Say whether a count is below a number, or not, as the relation asks."""
    return count < wanted if relation == "less than" else count >= wanted


def _count(word: str, text: str) -> int:
    return text.casefold().count(word.casefold())


def keywords_existence(response: str, *, keywords: Sequence[str]) -> bool:
    """All keywords occur."""
    return all(_count(word, response) for word in keywords)


def keywords_frequency(response: str, *, keyword: str, frequency: int, relation: Relation) -> bool:
    """A keyword occurs often, or seldom, enough."""
    return relates(_count(keyword, response), frequency, relation)


def forbidden_words(response: str, *, forbidden_words: Sequence[str]) -> bool:
    """None of the words occurs as a whole word."""
    return not any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", response, re.IGNORECASE) for word in forbidden_words)


def letter_frequency(response: str, *, letter: str, let_frequency: int, let_relation: Relation) -> bool:
    """A letter occurs often, or seldom, enough."""
    return relates(_count(letter, response), let_frequency, let_relation)


def response_language(response: str, *, language: str) -> bool:
    """All of the response is in one language; of ``zh-cn`` only ``zh`` is looked at."""
    return language_of(response) == language.casefold().split("-")[0]


def number_sentences(response: str, *, num_sentences: int, relation: Relation) -> bool:
    """There are many, or few, enough sentences; a heading or an item without a full stop is one too."""
    return relates(sum(map(_sentences, response.splitlines())), num_sentences, relation)


def _sentences(line: str) -> int:
    """Count the sentences of a line; the full stop of an abbreviation, an initial or an item's number ends none."""
    ends = [0, *(end.end() for end in _SENTENCE_END.finditer(line) if not _is_abbreviated(line, end)), len(line)]
    pieces = (line[start:end] for start, end in pairwise(ends))
    return sum(1 for piece in pieces if _WORD.search(piece))


def _is_abbreviated(line: str, end: re.Match[str]) -> bool:
    return end[0] == "." and bool(_ABBREVIATION.search(line[max(end.start() - 12, 0) : end.start()]))


def number_paragraphs(response: str, *, num_paragraphs: int) -> bool:
    """There are so many paragraphs, divided by ``***``."""
    paragraphs = [part.strip() for part in response.split("***")]
    inner = paragraphs[bool(not paragraphs[0]) : len(paragraphs) - bool(not paragraphs[-1])]
    return len(inner) == num_paragraphs and all(inner)


def number_words(response: str, *, num_words: int, relation: Relation) -> bool:
    """There are many, or few, enough words."""
    return relates(len(_WORD.findall(response)), num_words, relation)


def nth_paragraph_first_word(response: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """There are so many paragraphs, divided by empty lines, and one of them begins with a word."""
    paragraphs = [part.strip() for part in response.split("\n\n") if part.strip()]
    if len(paragraphs) != num_paragraphs or not 1 <= nth_paragraph <= len(paragraphs):
        return False
    first = paragraphs[nth_paragraph - 1].split()[0].lstrip(_OPENING_MARKS)
    return re.split(r"[.,?!'\"”’*_:;]", first)[0].casefold() == first_word.casefold()


def number_placeholders(response: str, *, num_placeholders: int) -> bool:
    """There are enough placeholders in square brackets."""
    return len(re.findall(r"\[[^\[\]]+\]", response)) >= num_placeholders


def postscript(response: str, *, postscript_marker: str) -> bool:
    """A line has the marker of a postscript, with something after it."""
    letters = r"\s?".join(re.escape(letter) for letter in postscript_marker if not letter.isspace())
    return bool(re.search(rf"(?<!\w){letters}\W*\w", response, re.IGNORECASE))


def number_bullet_lists(response: str, *, num_bullets: int) -> bool:
    """There are so many bullet points, begun with ``*`` or ``-``."""
    return len(re.findall(r"^[ \t]*(?:\*(?!\*)|-(?!-))[ \t]*\S", response, re.MULTILINE)) == num_bullets


def constrained_response(response: str) -> bool:
    """The response has one of the three answers allowed."""
    return sum(answer in response for answer in CONSTRAINED) == 1


def number_highlighted_sections(response: str, *, num_highlights: int) -> bool:
    """Enough passages are ``*highlighted*``."""
    return len(re.findall(r"\*{1,2}(?=\S)[^*\n]+\*{1,2}", response)) >= num_highlights


def multiple_sections(response: str, *, section_spliter: str, num_sections: int) -> bool:
    """There are enough sections, each begun with the splitter and a number."""
    return len(re.findall(rf"{re.escape(section_spliter.strip())}\s?\d+", response)) >= num_sections


def json_format(response: str) -> bool:
    """The response is JSON, perhaps in a code fence."""
    bare = re.sub(r"\A```(?:json)?|```\Z", "", response.strip(), flags=re.IGNORECASE)
    try:
        json.loads(bare)
    except (ValueError, RecursionError):
        return False
    return True


def title(response: str) -> bool:
    """There is a title in ``<<double angular brackets>>``."""
    return any(inside.strip() for inside in re.findall(r"<<([^<>\n]+)>>", response))


def two_responses(response: str) -> bool:
    """There are two different responses, divided by six asterisks."""
    parts = [part.strip() for part in response.split("******")]
    inner = parts[bool(not parts[0]) : len(parts) - bool(not parts[-1])]
    return len(inner) == 2 and all(inner) and inner[0] != inner[1]


def repeat_prompt(response: str, *, prompt_to_repeat: str) -> bool:
    """The response begins with the request, word by word."""
    return response.strip().casefold().startswith(prompt_to_repeat.strip().casefold())


def end_checker(response: str, *, end_phrase: str) -> bool:
    """The response ends with a phrase."""
    return response.strip().strip('"').casefold().endswith(end_phrase.strip().casefold())


def capital_word_frequency(response: str, *, capital_frequency: int, capital_relation: Relation) -> bool:
    """Often, or seldom, enough a word is in capital letters."""
    return relates(sum(map(str.isupper, _TOKEN.findall(response))), capital_frequency, capital_relation)


def english_capital(response: str) -> bool:
    """The response is English in capital letters."""
    return response.isupper() and language_of(response) == "en"


def english_lowercase(response: str) -> bool:
    """The response is English in small letters."""
    return response.islower() and language_of(response) == "en"


def no_comma(response: str) -> bool:
    """There is no comma of any script."""
    return not re.search("[,،、，︐﹐﹑､]", response)


def quotation(response: str) -> bool:
    """Double quotation marks surround the whole response."""
    bare = response.strip()
    return len(bare) > 2 and bare[0] == bare[-1] == '"'


CHECKS: Final[Mapping[str, Callable[..., bool]]] = {
    "change_case:capital_word_frequency": capital_word_frequency,
    "change_case:english_capital": english_capital,
    "change_case:english_lowercase": english_lowercase,
    "combination:repeat_prompt": repeat_prompt,
    "combination:two_responses": two_responses,
    "detectable_content:number_placeholders": number_placeholders,
    "detectable_content:postscript": postscript,
    "detectable_format:constrained_response": constrained_response,
    "detectable_format:json_format": json_format,
    "detectable_format:multiple_sections": multiple_sections,
    "detectable_format:number_bullet_lists": number_bullet_lists,
    "detectable_format:number_highlighted_sections": number_highlighted_sections,
    "detectable_format:title": title,
    "keywords:existence": keywords_existence,
    "keywords:forbidden_words": forbidden_words,
    "keywords:frequency": keywords_frequency,
    "keywords:letter_frequency": letter_frequency,
    "language:response_language": response_language,
    "length_constraints:nth_paragraph_first_word": nth_paragraph_first_word,
    "length_constraints:number_paragraphs": number_paragraphs,
    "length_constraints:number_sentences": number_sentences,
    "length_constraints:number_words": number_words,
    "punctuation:no_comma": no_comma,
    "startend:end_checker": end_checker,
    "startend:quotation": quotation,
}
"""What each instruction asks, by IFEval's id."""
