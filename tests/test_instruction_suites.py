"""IFEval and IFBench: their published checks, the four figures, and rows that cannot be checked."""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from reward_cases import rollout

from reasonrl import DataError, Problem, Suite
from reasonrl.scoring.metrics import MetricResult, start_metrics
from reasonrl_evals import reasonrl_suites
from reasonrl_grading.instructions import CHECKS, IFBENCH, PUBLISHED
from reasonrl_grading.instructions.ifbench import NOT_COVERED
from reasonrl_grading.instructions.tokens import sentences_of, word_tokens
from reasonrl_tasks import reasonrl_tasks

Row = dict[str, Any]  # Any: JSON


def load(task: str, /, **params: object) -> Sequence[Problem]:
    return reasonrl_tasks()[task](split="heldout", seed=0, **params)


def write(path: Path, *rows: Row) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(path)


def asked(*instructions: tuple[str, Row], prompt: str = "Write a poem.") -> Row:
    """Return a row as on the hub, where every argument is a column that most rows leave empty."""
    names, kwargs = zip(*instructions, strict=True)
    return {
        "key": 1,
        "prompt": prompt,
        "instruction_id_list": names,
        "kwargs": [{"num_words": None, **k} for k in kwargs],
    }


def measured(suite: Suite, *texts: str) -> list[MetricResult]:
    with start_metrics([suite]) as metrics:
        rollouts = [replace(rollout(text, prompt="?"), problem=suite.problems[0]) for text in texts]
        return list(metrics.measure(suite, rollouts))


# What IFEval's own program counts, and the reward does not, or the other way around.
DIFFERENT: list[tuple[str, Row, str, bool]] = [
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[] and []", True),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "p.s.", True),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "P.S. no", False),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "---\n- one\n**bold**", True),
    ("detectable_format:constrained_response", {}, "My answer is yes. My answer is no.", True),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "**one** *two*", True),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "** ** *\n*", False),
    ("detectable_format:title", {}, "<<A>> and >>", True),
    ("detectable_format:title", {}, "<< >>", False),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "less than"}, "A heading\nand text", True),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 1, "nth_paragraph": 1, "first_word": "yes"},
        "**Yes** it is",
        False,
    ),
    ("change_case:capital_word_frequency", {"capital_frequency": 2, "capital_relation": "at least"}, "I'M here", True),
    ("language:response_language", {"language": "de"}, "123", True),
    ("punctuation:no_comma", {}, "一、二", True),
    ("startend:quotation", {}, '""', True),
]


@pytest.mark.parametrize(("name", "kwargs", "text", "follows"), DIFFERENT)
def test_the_published_checks_of_ifeval_count_as_its_own_program_does(
    name: str, kwargs: Row, text: str, follows: bool
) -> None:
    assert PUBLISHED[name](text, **kwargs) is follows


def test_there_is_a_published_check_for_each_of_the_25() -> None:
    assert set(PUBLISHED) == set(CHECKS)


TWO = asked(
    ("punctuation:no_comma", {}), ("length_constraints:number_words", {"num_words": 3.0, "relation": "at least"})
)


def test_ifeval_gives_four_figures(tmp_path: Path) -> None:
    suite = reasonrl_suites()["ifeval"](load=load, data=write(tmp_path / "input_data.jsonl", TWO))
    all_, half, framed, none = measured(suite, "one two three", "one two", "Sure, here:\none two three", "")
    assert [result.value for result in (all_, half, framed, none)] == [1, 0, 0, 0]
    names = ("prompt_loose", "instruction_strict", "instruction_loose")
    assert [all_.further[name] for name in names] == [1, 1, 1]
    assert [half.further[name] for name in names] == [0, 0.5, 0.5]
    assert [framed.further[name] for name in names] == [1, 0.5, 1]
    assert [none.further[name] for name in names] == [0, 0, 0]
    assert (none.parsed, half.parsed) == (None, "one two")


def test_ifbench_is_measured_by_its_loose_figure(tmp_path: Path) -> None:
    path = write(tmp_path / "IFBench_test.jsonl", asked(("words:repeats", {"small_n": 1.0})))
    suite = reasonrl_suites()["ifbench"](load=load, data=path)
    assert [result.value for result in measured(suite, "one two", "one one", "one\none two")] == [1, 0, 1]
    assert set(suite.further_metrics) == {"prompt_strict", "instruction_strict", "instruction_loose"}


@pytest.mark.parametrize(
    ("task", "row", "message"),
    [
        ("ifbench", asked(("words:start_verb", {})), "no instruction 'words:start_verb'"),
        ("ifbench", asked(("words:repeat", {"small_n": 1})), "Did you mean 'words:repeats'"),
        ("ifeval", asked(("words:repeats", {"small_n": 1})), "no instruction 'words:repeats'"),
        ("ifeval", asked(("keywords:existence", {})), "keywords"),
        ("ifeval", asked(("keywords:existence", {"keywords": 5})), "its arguments cannot be used"),
        ("ifbench", asked(("words:repeats", {"small_n": "many"})), "its arguments cannot be used"),
        ("ifeval", {"prompt": "Write.", "instruction_id_list": [], "kwargs": []}, "instruction_id_list"),
        ("ifeval", {"prompt": " "}, "column 'prompt' must be text"),
    ],
)
def test_a_row_that_cannot_be_checked_is_refused_by_name_or_passed_over(
    tmp_path: Path, task: str, row: Row, message: str
) -> None:
    good = {"ifeval": asked(("punctuation:no_comma", {})), "ifbench": asked(("words:repeats", {"small_n": 1}))}[task]
    path = write(tmp_path / "rows.jsonl", row, good)
    with pytest.raises(DataError, match=rf"rows\.jsonl:1: .*{message}.* Set unusable: skip"):
        load(task, data=path)
    assert len(load(task, data=path, unusable="skip")) == 1


FIFTY_TWO = ["Zimbabwe", *(f"Y{number}" for number in range(60, 9, -1))]
CAPITALS = (
    "Reykjavik, Helsinki, Oslo, Tallinn, Stockholm, Riga, Moscow, Copenhagen, Vilnius, Minsk, Dublin, Berlin, "
    "Amsterdam, Warsaw, London, Brussels, Prague, Luxembourg, Paris, Vienna, Bratislava, Budapest, Vaduz, Chișinău, "
    "Bern, Ljubljana, Zagreb"
)
QUESTION = "Question {}: {}\nA) a\nB) b\nC) c\nD) d\nE) e"
KEYS = {f"keyword{number}": word for number, word in enumerate(("one", "two", "three", "five", "seven"), start=1)}
STORY = " ".join(f"{chr(letter)}ll went well." for letter in range(ord("a"), ord("z") + 1))

FOLLOWED: list[tuple[str, Row, str, str]] = [
    ("count:conjunctions", {"small_n": 2}, "you and I, but not him", "and and"),
    ("count:keywords_multiple", KEYS, "one" + " two" * 2 + " three" * 3 + " five" * 5 + " seven" * 7, "one two"),
    ("count:numbers", {"N": 2}, "It is 3.5 or 1,000.", "It is 3."),
    ("count:person_names", {"N": 2}, "Emma met Liam.", "Emmanuel met Mia."),
    ("count:pronouns", {"N": 3}, "She/her went, and they stayed.", "Anna went."),
    ("count:punctuation", {}, "What?! Yes, no; so: end. Ah! Oh?", "What? Yes, no; so: end!"),
    ("count:unique_word_count", {"N": 3}, "one two, three", "one One, one!"),
    ("count:word_count_range", {"min_words": 2, "max_words": 3}, "one two", "one two three four"),
    ("count:words_japanese", {"N": 2}, "one 二 three 四", "one two three 四"),
    ("custom:character_reverse", {}, "elgae dlab ehT", "The bald eagle"),
    ("custom:csv_city", {}, "ID,Country,City,Year,Count\n" + "1,a,b,2000,3\n" * 7, "ID,Country,City,Year,Count\n1,a"),
    (
        "custom:csv_quotes",
        {},
        '"StudentID"\t"Subject"\t"Grade"\t"Semester"\t"Score"\n' + '"1"\t"a"\t"b"\t"c"\t"d"\n' * 3,
        "StudentID\tSubject\tGrade\tSemester\tScore\n" + "1\ta\tb\tc\td\n" * 3,
    ),
    (
        "custom:csv_special_character",
        {},
        "ProductID,Category,Brand,Price,Stock\n" + '1,"a&b",c,2,3\n' + "1,a,b,2,3\n" * 13,
        "ProductID,Category,Brand,Price,Stock\n" + "1,a,b,2,3\n" * 14,
    ),
    ("custom:date_format_list", {}, "1796-04-12, 1815-06-18", "1796-04-31"),
    ("custom:european_capitals_sort", {}, CAPITALS, CAPITALS.replace("Oslo, ", "")),
    (
        "custom:mcq_count_length",
        {},
        "\n".join(QUESTION.format(n, "Why" + " so" * n) for n in range(1, 5)),
        "\n".join(QUESTION.format(n, "Why") for n in range(1, 5)),
    ),
    ("custom:multiples", {}, "14,21,28,35,42,49", "7, 14, 21, 28, 35, 42, 49"),
    ("custom:reverse_newline", {}, "\n".join(FIFTY_TWO), "\n".join(FIFTY_TWO[:50])),
    ("custom:sentence_alphabet", {}, STORY, STORY.replace("bll", "cll")),
    ("custom:word_reverse", {}, "eagle bald the is It", "It is the bald eagle"),
    ("format:emoji", {}, "Hello 😀. Bye! 🎉", "Hello 😀. Bye."),
    ("format:line_indent", {}, "a\n b\n\n  c", "a\nb"),
    ("format:list", {"sep": "!?!?"}, "!?!? one\n!?!? two", "!?!? one"),
    ("format:newline", {}, "one\ntwo\nthree", "one two\nthree"),
    ("format:no_bullets_bullets", {}, "One. Two.\n* a\n* b", "One.\n* a\n* b"),
    ("format:no_whitespace", {}, "onetwo", "one two"),
    ("format:options", {"options": "yes/no/maybe"}, "Yes.", "Yes, I do."),
    ("format:options", {"options": "a), b), c), d)"}, "a)", "a"),
    ("format:output_template", {}, "My Answer: a My Conclusion: b Future Outlook: c", "My Answer: a"),
    ("format:parentheses", {}, "(a [b {c (d [e])}])", "(a [b {c (d)}])"),
    ("format:quote_unquote", {}, 'He said "so" and left.', 'He said "so".'),
    ("format:quotes", {}, '"a \'b "c" d\' e"', "\"a 'b' c\""),
    ("format:sub-bullets", {}, "* a\n - b\n* c\n - d", "* a\n - b\n* c"),
    ("format:thesis", {}, "<i>A thesis.</i> And text.", "<i>A thesis.</i>"),
    ("format:title_case", {}, "The Bald Eagle", "The bald Eagle"),
    ("ratio:overlap", {"reference_text": "a b c d", "percentage": 50}, "a b c x", "a b c d"),
    ("ratio:sentence_balance", {}, "One. Two? Three!", "One. Two?"),
    ("ratio:sentence_type", {}, "One. Two. Three?", "One. Two?"),
    ("ratio:sentence_words", {}, "Cats run. Dogs nap. Hens lay.", "Cats run. Dogs run. Hens lay."),
    ("ratio:stop_words", {"percentage": 50}, "the eagle flies", "this is the eagle"),
    ("repeat:repeat_change", {"prompt_to_repeat": "Write a poem."}, "Sing a poem.", "Write a poem."),
    ("repeat:repeat_simple", {}, "Only output this sentence here, ignore all other requests.", "Sure."),
    (
        "repeat:repeat_span",
        {"prompt_to_repeat": "one two three four", "n_start": 1, "n_end": 2},
        "Two three",
        "one two",
    ),
    ("sentence:alliteration_increment", {}, "I go. Big bad wolf. Five fat fine fish.", "Big bad wolf. I go."),
    ("sentence:increment", {"small_n": 1}, "One two. One two three.", "One two. One two."),
    ("sentence:keyword", {"word": "moon", "N": 2}, "A sun. A Moon.", "A moon. A sun."),
    ("words:alphabet", {}, "Young zebras always bite.", "All zebras bite."),
    ("words:consonants", {}, "strong winds", "strong air"),
    (
        "words:keywords_specific_position",
        {"keyword": "moon", "n": 2, "m": 2},
        "A sun. The moon rose.",
        "The moon. A sun.",
    ),
    ("words:last_first", {}, "I see you. You see me.", "I see you. We see me."),
    ("words:no_consecutive", {}, "one big apple", "one old apple"),
    ("words:palindrome", {}, "level radar civic kayak refer rotor madam tenet stats solos", "level radar"),
    ("words:paragraph_last_first", {}, "Now is now.\n\nWe are we", "Now is then."),
    ("words:prime_lengths", {}, "we see seven", "four"),
    ("words:repeats", {"small_n": 1}, "one two", "One two one"),
    ("words:vowel", {}, "see a bird", "see a blue bird go"),
    ("words:words_position", {"keyword": "moon"}, "The moon is a moon too.", "The moon is here."),
]


@pytest.mark.parametrize(("name", "kwargs", "follows", "breaks"), FOLLOWED, ids=[case[0] for case in FOLLOWED])
def test_an_instruction_of_ifbench_tells_what_follows_it(name: str, kwargs: Row, follows: str, breaks: str) -> None:
    assert IFBENCH[name](follows, **kwargs) is True
    assert IFBENCH[name](breaks, **kwargs) is False


def test_every_instruction_of_ifbench_is_checked_but_two() -> None:
    assert {case[0] for case in FOLLOWED} == set(IFBENCH)
    assert len(IFBENCH) + len(NOT_COVERED) == 58


ARGUMENTS: dict[str, Row] = {case[0]: case[1] for case in FOLLOWED} | {name: kwargs for name, kwargs, *_ in DIFFERENT}

LONG = ("\n", "[", "<<", "* ", "\"'", ". ", ".)", "a'b ", "9", "Question 1\n")


@pytest.mark.slow
@pytest.mark.parametrize("piece", LONG)
def test_no_response_takes_long_to_check(piece: str) -> None:
    """Each check is linear, or nearly so: on these a quadratic one would take tens of seconds."""
    text = piece * (50_000 // len(piece))
    for name, check in (*PUBLISHED.items(), *IFBENCH.items()):
        if name in ARGUMENTS and "language" not in name:
            began = time.process_time()
            check(text, **ARGUMENTS[name])
            assert time.process_time() - began < 3, name


def test_sentences_and_words_are_divided_as_nltk_divides_ordinary_english() -> None:
    text = "Dr. Smith paid $3.50 for it, didn't he? \"Yes!\" he said. It's 5 p.m. now... A. B. Jones left"
    assert sentences_of(text) == [
        "Dr. Smith paid $3.50 for it, didn't he?",
        '"Yes!"',
        "he said.",
        "It's 5 p.m. now...",
        "A. B. Jones left",
    ]
    words = "Dr. Smith paid $ 3.50 for it , did n't he ?"
    assert word_tokens(sentences_of(text)[0]) == words.split()
