"""The instructions of IFBench (arXiv:2507.02833) by their published ids; each is a function of the response.

Read from allenai/IFBench, instructions.py, as of its revision of 2026. Sentences and words are those of ``tokens.py``
in place of NLTK's. Two of its 58 need a model or a dictionary that is not here, and are in no list:
``words:start_verb`` (a part-of-speech tagger) and ``words:odd_even_syllables`` (counts of syllables).
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Final

from reasonrl_grading.instructions.ifbench_custom import CUSTOM
from reasonrl_grading.instructions.ifbench_words import (
    CONJUNCTIONS,
    PERSON_NAMES,
    PRIMES,
    PRONOUNS,
    STOP_WORDS,
    bare_words,
    stripped,
    without_signs,
)
from reasonrl_grading.instructions.tokens import sentences_of, word_tokens

NOT_COVERED: Final = ("words:odd_even_syllables", "words:start_verb")
"""Instructions of IFBench that are not checked."""

MAX_BRACKETS: Final = 5
"""How deep brackets are to be nested."""

_WORD = re.compile(r"\w+")
_JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
_CONSONANTS = re.compile(r"[bcdfghjklmnpqrstvwxyz]{2}")
_PAIRS: Final = {")": "(", "]": "[", "}": "{"}


def word_count_range(response: str, *, min_words: int, max_words: int) -> bool:
    """The number of words is within a range."""
    return min_words <= len(_WORD.findall(response)) <= max_words


def unique_word_count(response: str, *, N: int) -> bool:
    """There are enough different words."""
    return len(set(map(stripped, response.lower().split()))) >= N


def stop_words(response: str, *, percentage: float) -> bool:
    """No more than a share of the words is among the commonest ones."""
    words = _WORD.findall(response)
    return bool(words) and 100 * sum(word.lower() in STOP_WORDS for word in words) / len(words) <= percentage


def sentence_type(response: str) -> bool:
    """There are twice as many sentences with a full stop as with a question mark."""
    ends = _ends(response)
    return ends["."] == 2 * ends["?"]


def sentence_balance(response: str) -> bool:
    """There are as many sentences with a full stop as with a question mark and with an exclamation mark."""
    ends = _ends(response)
    return ends["."] == ends["?"] == ends["!"]


def _ends(response: str) -> Counter[str]:
    return Counter(sentence[-1] for sentence in sentences_of(response))


def conjunctions(response: str, *, small_n: int) -> bool:
    """There are enough coordinating conjunctions that are written differently."""
    return len({word for word in response.split() if stripped(word).lower() in CONJUNCTIONS}) >= small_n


def person_names(response: str, *, N: int) -> bool:
    """There are enough different names of the list that the instruction gives."""
    words = set(_WORD.findall(response))
    return len(words & PERSON_NAMES) >= N


def overlap(response: str, *, reference_text: str, percentage: float) -> bool:
    """The share of three words in a row that are the reference's too is within two percent of a number."""
    own, reference = _trigrams(response), _trigrams(reference_text)
    return bool(own) and abs(100 * len(own & reference) / len(own) - percentage) <= 2


def _trigrams(text: str) -> set[tuple[str, str, str]]:
    tokens = word_tokens(text)
    return set(zip(tokens, tokens[1:], tokens[2:], strict=False))


def numbers(response: str, *, N: int) -> bool:
    """There are exactly so many numbers, a decimal one being one."""
    return len(re.findall(r"\d+", without_signs(response))) == N


def alphabet(response: str) -> bool:
    """Each word begins with the next letter of the alphabet."""
    initials = [word[0].lower() for word in without_signs(response).split()]
    if not initials or initials[0] not in string.ascii_lowercase:
        return False
    return all(_next_letter(first) == second for first, second in pairwise(initials))


def _next_letter(letter: str) -> str:
    letters = string.ascii_lowercase
    return letters[(letters.index(letter) + 1) % 26] if letter in letters else ""


def vowel(response: str) -> bool:
    """One paragraph has no more than three different vowels."""
    bare = response.strip()
    return "\n" not in bare and len(set(bare.lower()) & set("aeiou")) <= 3


def consonants(response: str) -> bool:
    """Each word has two consonants in a row."""
    return all(_CONSONANTS.search(word) for word in response.lower().split())


def alliteration_increment(response: str) -> bool:
    """Each sentence has more words that begin like their neighbors than the one before."""
    counts = [_alliterations(sentence) for sentence in sentences_of(response)]
    return all(first < second for first, second in pairwise(counts))


def _alliterations(sentence: str) -> int:
    """Count the words that begin with the letter of the next or of the one before."""
    words = (word.lstrip(string.punctuation + " ") for word in sentence.lower().split())
    initials = [word[0] for word in words if word]
    is_same = [first == second for first, second in pairwise(initials)]
    begins = sum(same and not before for before, same in pairwise([False, *is_same]))
    return sum(is_same) + begins


def palindrome(response: str) -> bool:
    """There are ten palindromes of five letters or more."""
    words = without_signs(response).lower().split()
    return sum(len(word) >= 5 and word == word[::-1] for word in words) >= 10


def punctuation(response: str) -> bool:
    """Every mark is used, and the interrobang beside them."""
    if not any(mark in response for mark in ("!?", "?!", "‽")):
        return False
    rest = response.replace("?!", "", 1)
    rest = response.replace("!?", "", 1) if rest == response else rest
    return set(".,!?;:") <= set(rest)


def parentheses(response: str) -> bool:
    """Brackets of any kinds are nested deep enough, and the innermost one is closed."""
    open_ones, deepest = list[str](), 0
    for sign in response:
        if sign in _PAIRS.values():
            open_ones.append(sign)
            deepest = max(deepest, len(open_ones))
        elif sign in _PAIRS:
            if not open_ones or open_ones.pop() != _PAIRS[sign]:
                open_ones, deepest = [], 0
            elif deepest >= MAX_BRACKETS:
                return True
    return False


def quotes(response: str) -> bool:
    """Quotes of both kinds are nested three deep."""
    open_ones, deepest = list[str](), 0
    for sign in response:
        if open_ones and sign == open_ones[-1]:
            open_ones.pop()
            if deepest - len(open_ones) >= 3:
                return True
        elif sign in "\"'":
            open_ones.append(sign)
            deepest = max(deepest, len(open_ones))
    return False


def prime_lengths(response: str) -> bool:
    """The length of every word is a prime number."""
    return all(len(word) in PRIMES for word in without_signs(response).split())


def options(response: str, *, options: str) -> bool:
    """The response is one of the options and nothing else; letters must be written as in the list."""
    separator = "/" if "/" in options else "or" if "or" in options else ","
    allowed = [option.strip() for option in options.split(separator)]
    if re.match(r"\W*[aA]\W*[bB]\W*[cC]\W*", options):
        return response in allowed
    return stripped(response).lower() in [stripped(option).lower() for option in allowed]


def newline(response: str) -> bool:
    """There are as many lines as words."""
    bare = without_signs(response).strip()
    return len([line for line in bare.split("\n") if line]) == len(bare.split())


def emoji(response: str) -> bool:
    """Every sentence ends with an emoji, or the next one begins with its."""
    bare = [without_signs(sentence).strip() for sentence in sentences_of(response)]
    if not all(bare):
        return False
    return all(
        any(map(_is_emoji, sentence[-2:])) or (bool(following) and _is_emoji(following[0]))
        for sentence, following in pairwise([*bare, ""])
    )


def _is_emoji(sign: str) -> bool:
    import regex

    return regex.fullmatch(r"[\p{Extended_Pictographic}\p{Emoji_Presentation}]", sign) is not None


def sentence_words(response: str) -> bool:
    """There are three sentences of one length that share no word."""
    sentences = sentences_of(response)
    words = bare_words(" ".join(sentences))
    return len(sentences) == 3 and len(set(map(len, sentences))) == 1 and len(words) == len(set(words))


def words_japanese(response: str, *, N: int) -> bool:
    """Every so-manieth word is Japanese."""
    asked = (stripped(word) for word in response.split()[N - 1 :: N]) if N > 0 else ()
    return all(not word or word.isdigit() or _JAPANESE.search(word) for word in asked)


def repeats(response: str, *, small_n: int) -> bool:
    """No word occurs more often than so."""
    return max(Counter(bare_words(response)).values(), default=0) <= small_n


def keyword(response: str, *, word: str, N: int) -> bool:
    """A sentence, by its number, has a keyword."""
    sentences = sentences_of(response)
    return 1 <= N <= len(sentences) and _has_word(word, sentences[N - 1])


def _has_word(word: str, text: str) -> bool:
    return re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) is not None


def pronouns(response: str, *, N: int) -> bool:
    """There are enough pronouns."""
    return sum(word in PRONOUNS for word in word_tokens(response.replace("/", " ").lower())) >= N


def last_first(response: str) -> bool:
    """The last word of each sentence is the first one of the next."""
    sides = string.punctuation + " "
    ends = [(sentence.rstrip(sides).split(), sentence.lstrip(sides).split()) for sentence in sentences_of(response)]
    return all(
        bool(last) and bool(first) and last[-1].lower() == first[0].lower() for (last, _), (_, first) in pairwise(ends)
    )


def paragraph_last_first(response: str) -> bool:
    """Every line ends with the word that it begins with."""
    lines = (stripped(line.strip().lower()).split() for line in response.split("\n"))
    return all(words[0] == words[-1] for words in lines if words)


def increment(response: str, *, small_n: int) -> bool:
    """Every sentence has so many words more than the one before."""
    counts = [len(without_signs(sentence).split()) for sentence in sentences_of(response)]
    return bool(counts) and all(second == first + small_n for first, second in pairwise(counts))


def no_consecutive(response: str) -> bool:
    """No two words in a row begin with one letter."""
    return all(first[0] != second[0] for first, second in pairwise(bare_words(response)))


def line_indent(response: str) -> bool:
    """Every line is indented more than the one before."""
    indents = [len(line) - len(line.lstrip(" ")) for line in response.split("\n") if line.strip()]
    return all(first < second for first, second in pairwise(indents))


def quote_unquote(response: str) -> bool:
    """No quoted passage follows another at once, or ends the response."""
    bare = "".join(response.replace("'\"'", "").split())
    if '""' in bare:
        return False
    return not bare.strip(string.digits + string.punctuation.replace('"', "")).endswith('"')


def special_list(response: str, *, sep: str) -> bool:
    """The marker of items occurs twice."""
    return bool(sep) and response.count(sep) >= 2


def thesis(response: str) -> bool:
    """There is a passage in HTML's italics, with text after it."""
    starts = [place for place in (response.find("<i>"), response.find("<em>")) if place >= 0]
    if not starts:
        return False
    rest = response[response.find("<i>") if "<i>" in response else starts[0] :]
    end = rest.find("</i>") if "</i>" in rest else rest.find("</em>")
    return end >= 0 and bool(rest[3:end].strip()) and bool(rest[end + 4 :].strip())


def sub_bullets(response: str) -> bool:
    """After every asterisk there is a hyphen before the next one."""
    return all("-" in part for part in response.split("*")[1:])


def no_bullets_bullets(response: str) -> bool:
    """Two sentences or more are followed by two items or more, begun with an asterisk, and by nothing else."""
    lines = response.split("\n")
    marks = [line.strip().startswith("*") for line in lines]
    first = marks.index(True) if True in marks else len(lines)
    num_sentences = sum(len(sentences_of(line)) for line in lines[:first])
    return num_sentences >= 2 and len(marks) - first >= 2 and all(marks[first:])


def keywords_multiple(
    response: str, *, keyword1: str, keyword2: str, keyword3: str, keyword4: str, keyword5: str
) -> bool:
    """Five keywords occur once, twice, three times, five times and seven times."""
    keywords = (keyword1, keyword2, keyword3, keyword4, keyword5)
    found = (len(re.findall(rf"\b{re.escape(word.strip())}\b", response, re.IGNORECASE)) for word in keywords)
    return tuple(found) == (1, 2, 3, 5, 7)


def keywords_specific_position(response: str, *, keyword: str, n: int, m: int) -> bool:
    """A keyword is a word of a sentence, both by their numbers."""
    sentences = sentences_of(response)
    words = _words(sentences[n - 1]) if 1 <= n <= len(sentences) else []
    return 1 <= m <= len(words) and words[m - 1].lower() == keyword.strip().lower()


def words_position(response: str, *, keyword: str) -> bool:
    """A keyword is the second word and the last but one."""
    words = _words(response)
    return len(words) >= 2 and words[1].lower() == words[-2].lower() == keyword.strip().lower()


def _words(text: str) -> Sequence[str]:
    """Return the tokens that have a letter or a digit."""
    return [token for token in word_tokens(text) if any(map(str.isalnum, token))]


def repeat_change(response: str, *, prompt_to_repeat: str) -> bool:
    """The response is the request with another first word."""
    return prompt_to_repeat != response and prompt_to_repeat.split()[1:] == response.split()[1:]


def repeat_simple(response: str) -> bool:
    """The response is the sentence that asks for itself."""
    return response.strip().lower() == "only output this sentence here, ignore all other requests."


def repeat_span(response: str, *, prompt_to_repeat: str, n_start: int, n_end: int) -> bool:
    """The response is a span of the request's words."""
    return response.strip().lower() == " ".join(prompt_to_repeat.split()[n_start : n_end + 1]).lower()


def title_case(response: str) -> bool:
    """No word begins with a small letter."""
    return not any(word[0].isalpha() and word[0].islower() and _is_one_case(word[1:]) for word in word_tokens(response))


def _is_one_case(rest: str) -> bool:
    return not rest or rest.islower() or rest.isupper()


def output_template(response: str) -> bool:
    """The three headings of the template occur."""
    return all(heading in response for heading in ("My Answer:", "My Conclusion:", "Future Outlook:"))


def no_whitespace(response: str) -> bool:
    """There is no white space."""
    return not any(map(str.isspace, response))


IFBENCH: Final[Mapping[str, Callable[..., bool]]] = {
    **CUSTOM,
    "count:conjunctions": conjunctions,
    "count:keywords_multiple": keywords_multiple,
    "count:numbers": numbers,
    "count:person_names": person_names,
    "count:pronouns": pronouns,
    "count:punctuation": punctuation,
    "count:unique_word_count": unique_word_count,
    "count:word_count_range": word_count_range,
    "count:words_japanese": words_japanese,
    "format:emoji": emoji,
    "format:line_indent": line_indent,
    "format:list": special_list,
    "format:newline": newline,
    "format:no_bullets_bullets": no_bullets_bullets,
    "format:no_whitespace": no_whitespace,
    "format:options": options,
    "format:output_template": output_template,
    "format:parentheses": parentheses,
    "format:quote_unquote": quote_unquote,
    "format:quotes": quotes,
    "format:sub-bullets": sub_bullets,
    "format:thesis": thesis,
    "format:title_case": title_case,
    "ratio:overlap": overlap,
    "ratio:sentence_balance": sentence_balance,
    "ratio:sentence_type": sentence_type,
    "ratio:sentence_words": sentence_words,
    "ratio:stop_words": stop_words,
    "repeat:repeat_change": repeat_change,
    "repeat:repeat_simple": repeat_simple,
    "repeat:repeat_span": repeat_span,
    "sentence:alliteration_increment": alliteration_increment,
    "sentence:increment": increment,
    "sentence:keyword": keyword,
    "words:alphabet": alphabet,
    "words:consonants": consonants,
    "words:keywords_specific_position": keywords_specific_position,
    "words:last_first": last_first,
    "words:no_consecutive": no_consecutive,
    "words:palindrome": palindrome,
    "words:paragraph_last_first": paragraph_last_first,
    "words:prime_lengths": prime_lengths,
    "words:repeats": repeats,
    "words:vowel": vowel,
    "words:words_position": words_position,
}
"""What each instruction asks, by IFBench's id: 56 of its 58."""
