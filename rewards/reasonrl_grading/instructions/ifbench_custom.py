"""The instructions of IFBench that are a question of their own, such as a list of cities in an order."""

import csv
import io
import re
import string
import unicodedata
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Final

from reasonrl_grading.instructions.ifbench_words import stripped, without_signs
from reasonrl_grading.instructions.tokens import sentences_of

# fmt: off
_CAPITALS: Final = [
    "Reykjavik", "Helsinki", "Oslo", "Tallinn", "Stockholm", "Riga", "Moscow", "Copenhagen", "Vilnius", "Minsk",
    "Dublin", "Berlin", "Amsterdam", "Warsaw", "London", "Brussels", "Prague", "Luxembourg", "Paris", "Vienna",
    "Bratislava", "Budapest", "Vaduz", "Chisinau", "Bern", "Ljubljana", "Zagreb",
]
"""Of Europe, north of 45 degrees, from north to south."""
# fmt: on

_DAYS: Final = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_QUESTION = re.compile(r"Question \d+[.|):;]?\s*")
_OPTION = re.compile(r"[A-Ea-e][.|)]\s*\w")

MIN_COUNTRIES: Final = 52
"""Lines of the list of Africa's countries."""


def multiples(response: str) -> bool:
    """The numbers are the multiples of 7 from 14 to 49."""
    return re.findall(r"\d+", response) == [str(number) for number in range(14, 51, 7)]


def mcq_count_length(response: str) -> bool:
    """There are four questions with five choices each, every question longer than the one before."""
    if not response.startswith("Question"):
        return False
    parts = [part.strip() for part in _QUESTION.split(response) if part.strip()]
    asked = list(map(_asked_and_options, parts))
    lengths = [length for length, _ in asked]
    return len(asked) == 4 and all(count == 5 for _, count in asked) and all(a < b for a, b in pairwise(lengths))


def _asked_and_options(part: str) -> tuple[int, int]:
    """Return the length of a question before its choices, and their number."""
    lines = [line.strip() for line in part.split("\n")]
    is_option = [_OPTION.match(line) is not None for line in lines]
    first = is_option.index(True) if True in is_option else len(lines)
    return len(" ".join(lines[:first]).strip()), sum(is_option)


def reverse_newline(response: str) -> bool:
    """The lines from Zimbabwe's on are many enough and in reverse order."""
    lines = [bare for line in response.split("\n") if (bare := stripped(line))]
    start = next((index for index, line in enumerate(lines) if "Zimbabwe" in line), len(lines))
    names = [_ascii(line) for line in lines[start:]]
    return len(names) >= MIN_COUNTRIES and names == sorted(names, reverse=True)


def _ascii(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def word_reverse(response: str) -> bool:
    """The words in reverse order are one sentence about the bald eagle."""
    reversed_words = " ".join(without_signs(response.lower().strip()).split()[::-1])
    return "bald eagle" in reversed_words and reversed_words in sentences_of(reversed_words)


def character_reverse(response: str) -> bool:
    """The bald eagle is there, letter by letter in reverse order."""
    return "elgae dlab" in response.lower()


def sentence_alphabet(response: str) -> bool:
    """The first words of 26 sentences begin with the letters of the alphabet in order."""
    bare = [sentence.lstrip(string.punctuation + string.whitespace) for sentence in sentences_of(response)]
    return [text[:1].lower() for text in bare] == list(string.ascii_lowercase)


def european_capitals_sort(response: str) -> bool:
    """The capitals are those of the list in its order."""
    return [name.strip() for name in _ascii(response).split(",") if name.strip()] == _CAPITALS


def csv_city(response: str) -> bool:
    """There are seven rows under the five names."""
    rows = _rows(response)
    return len(rows) == 8 and rows[0] == ["ID", "Country", "City", "Year", "Count"] and _are_wide(rows[1:])


def csv_special_character(response: str) -> bool:
    """There are fourteen rows under the five names, and a quoted field with a special character."""
    if not _has_header(response, ("ProductID", "Category", "Brand", "Price", "Stock"), ",[ \t]*"):
        return False
    rows = _rows(response.replace('"', '"""'))
    if len(rows) != 15:
        return False
    special = next((place for place, row in enumerate(rows[1:], 1) if any(map(_is_special, row))), None)
    return special is not None and _are_wide(rows[1 : special + 1])


def _is_special(field: str) -> bool:
    """Say whether a field begins with a quotation mark, and has a special character before another one."""
    end = field.rfind('"')
    return field.startswith('"') and end > 0 and re.search(r"[^\d\w\s]", field[1:end]) is not None


def csv_quotes(response: str) -> bool:
    """There are three rows under the five names, divided by tabs, and every field is quoted."""
    if not _has_header(response, ("StudentID", "Subject", "Grade", "Semester", "Score"), "\t *"):
        return False
    rows = _rows(response.replace('"', '"""'), delimiter="\t")
    fields = [field.strip() for row in rows for field in row]
    return len(rows) == 4 and _are_wide(rows) and all(field[:1] == field[-1:] == '"' for field in fields)


def _has_header(response: str, names: tuple[str, ...], separator: str) -> bool:
    pattern = separator.join(f'(?:{name}|"{name}")' for name in names)
    return re.fullmatch(pattern, response.split("\n")[0].strip()) is not None


def _rows(text: str, delimiter: str = ",") -> list[list[str]]:
    """Return the rows of a table; none where it is no table."""
    try:
        return list(csv.reader(io.StringIO(text), delimiter=delimiter))
    except csv.Error:
        return []


def _are_wide(rows: list[list[str]]) -> bool:
    return all(len(row) == 5 for row in rows)


def date_format_list(response: str) -> bool:
    """The response is a list of dates of Napoleon's life."""
    return all(map(_is_his_date, response.strip().split(",")))


def _is_his_date(text: str) -> bool:
    found = _DATE.fullmatch(text.strip())
    if found is None:
        return False
    year, month, day = map(int, found.groups())
    return 1769 <= year <= 1821 and month <= 12 and day <= _DAYS.get(month, 31)


CUSTOM: Final[Mapping[str, Callable[[str], bool]]] = {
    "custom:character_reverse": character_reverse,
    "custom:csv_city": csv_city,
    "custom:csv_quotes": csv_quotes,
    "custom:csv_special_character": csv_special_character,
    "custom:date_format_list": date_format_list,
    "custom:european_capitals_sort": european_capitals_sort,
    "custom:mcq_count_length": mcq_count_length,
    "custom:multiples": multiples,
    "custom:reverse_newline": reverse_newline,
    "custom:sentence_alphabet": sentence_alphabet,
    "custom:word_reverse": word_reverse,
}
