"""IFEval's instructions: each followed and broken, alone and together."""

from typing import Any

import pytest
from reward_cases import rollout

from reasonrl_grading.instructions import CHECKS, Mode
from reasonrl_rewards.instructions import instructions

Case = tuple[str, dict[str, Any], list[str], list[str]]
"""An instruction, its arguments, what follows it and what does not. Any: each has its own arguments."""

GERMAN = "Das Wetter ist heute schön, und wir gehen nach dem Frühstück zusammen in den Wald."

CASES: list[Case] = [
    ("keywords:existence", {"keywords": ["sun", "Moon"]}, ["The SUN and the moon."], ["The sun.", "s u n moon", ""]),
    (
        "keywords:frequency",
        {"keyword": "very", "frequency": 2, "relation": "at least"},
        ["very, Very good", "very very very"],
        ["very good", "v e r y very"],
    ),
    (
        "keywords:frequency",
        {"keyword": "a.b", "frequency": 1, "relation": "less than"},
        ["axb", "nothing"],
        ["a.b", "A.B a.b"],
    ),
    (
        "keywords:forbidden_words",
        {"forbidden_words": ["cat", "C++"]},
        ["A concatenation.", "C is fine"],
        ["My Cat sleeps.", "I like C++."],
    ),
    (
        "keywords:letter_frequency",
        {"letter": "q", "let_frequency": 2, "let_relation": "at least"},
        ["Quick quiz"],
        ["quick", "none"],
    ),
    (
        "keywords:letter_frequency",
        {"letter": "!", "let_frequency": 2, "let_relation": "less than"},
        ["Oh!"],
        ["Oh! Oh!"],
    ),
    ("language:response_language", {"language": "de"}, [GERMAN], ["The weather is nice, and we walk to the forest."]),
    ("language:response_language", {"language": "zh-cn"}, ["今天天气很好,我们吃完早饭一起去森林里散步。"], [GERMAN]),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 3, "relation": "at least"},
        ["One. Two! Three?", "One.\nTwo.\nThree", "We saw 3.5 cm. It grew. Dr. Who left."],
        ["One. Two.", "Dr. A. Smith has 3.5 cats.", "... !!! ???", "1. One"],
    ),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 2, "relation": "less than"},
        ["Mr. Smith, e.g. John, has 2.5 apples."],
        ["Yes. No."],
    ),
    (
        "length_constraints:number_paragraphs",
        {"num_paragraphs": 2},
        ["One\n***\nTwo", "***\nOne\n***\nTwo\n***"],
        ["One\n\nTwo", "One\n***\n***\nTwo", "One***Two***Three", "***"],
    ),
    (
        "length_constraints:number_words",
        {"num_words": 4, "relation": "at least"},
        ["one two, three - four"],
        ["one two three", "- - - -"],
    ),
    ("length_constraints:number_words", {"num_words": 3, "relation": "less than"}, ["one two"], ["one two three"]),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "However"},
        ["One.\n\nHowever, two.", "One.\n\n\n\n**however** two"],
        ["However.\n\nTwo.", "One.\nHowever, two.", "One.\n\nHowever.\n\nThree.", "One.\n\nHowevermore"],
    ),
    (
        "detectable_content:number_placeholders",
        {"num_placeholders": 2},
        ["Dear [name] of [town]"],
        ["Dear [name]", "[] []", "[[[[ ]"],
    ),
    (
        "detectable_content:postscript",
        {"postscript_marker": "P.S."},
        ["Bye.\n\nP.S. Call me.", "Bye.\np.s. x", "P. S. more"],
        ["Bye.", "P.S.", "PS call me", "ups.s. it"],
    ),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, ["P.P.S. more"], ["P.S. more", "P.P.S."]),
    (
        "detectable_format:number_bullet_lists",
        {"num_bullets": 2},
        ["* one\n* two", "Items:\n- one\n  - two"],
        ["* one", "- a\n- b\n- c", "**bold**\n**more**", "---\n---", "1. a\n2. b"],
    ),
    (
        "detectable_format:constrained_response",
        {},
        ["My answer is yes.", "Well. My answer is maybe."],
        ["Yes.", "my answer is yes.", "My answer is yes. My answer is no."],
    ),
    (
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 2},
        ["*one* and *two*", "**one** *two*"],
        ["*one*", "** ** * *", "* a\n* b"],
    ),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Section", "num_sections": 2},
        ["Section 1\na\nSection 2\nb"],
        ["Section 1\na", "Section A\nSection B"],
    ),
    (
        "detectable_format:json_format",
        {},
        ['{"a": 1}', '```json\n{"a": [1]}\n```', "```\n[]\n```"],
        ["a: 1", "{'a': 1}", 'Here: {"a": 1}', "[" * 100_000],
    ),
    ("detectable_format:title", {}, ["<<A poem>>\nRoses"], ["A poem", "<< >>", "<<A\npoem>>", "<A poem>"]),
    (
        "combination:two_responses",
        {},
        ["One way.\n******\nAnother way.", "******\nOne\n******\nTwo"],
        ["One.", "One.******One.", "One.******", "a******b******c"],
    ),
    (
        "combination:repeat_prompt",
        {"prompt_to_repeat": "Write a poem."},
        ["write a POEM. Roses are red."],
        ["Roses are red.", "I will write a poem. Roses"],
    ),
    (
        "startend:end_checker",
        {"end_phrase": "Any other questions?"},
        ["Yes. any other questions?", '"Any other questions?"'],
        ["Any other questions? No.", "Any other"],
    ),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "at least"},
        ["I am HERE", "A-B and NATO"],
        ["I am here", "Here We Are", "12 34"],
    ),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 1, "capital_relation": "less than"},
        ["nothing here"],
        ["SOMETHING here"],
    ),
    ("change_case:english_capital", {}, ["THE WEATHER IS NICE TODAY."], ["The weather is NICE.", GERMAN.upper(), "42"]),
    (
        "change_case:english_lowercase",
        {},
        ["the weather is nice today."],
        ["The weather is nice.", GERMAN.lower(), "42"],
    ),
    ("punctuation:no_comma", {}, ["No comma here."], ["One, two", "一、二", "一\N{FULLWIDTH COMMA}二"]),
    ("startend:quotation", {}, ['"All of it."', ' "a" '], ['"All of it.', "All of it", '""', "'All of it.'", '"']),
]


@pytest.mark.parametrize(("name", "kwargs", "followed", "broken"), CASES, ids=[case[0] for case in CASES])
def test_an_instruction_tells_what_follows_it(
    name: str, kwargs: dict[str, Any], followed: list[str], broken: list[str]
) -> None:
    asked: dict[str, Any] = {"instruction_id_list": [name], "kwargs": [{**kwargs, "another_column": None}]}
    for text in followed:
        assert instructions(rollout(text, **asked)).value == 1, text
    for text in broken:
        score = instructions(rollout(text, **asked))
        assert score.value == 0, text
        assert name in score.why or "characters" in score.why


def test_every_instruction_of_ifeval_is_tested() -> None:
    assert {case[0] for case in CASES} == set(CHECKS)
    assert len(CHECKS) == 25


TWO: dict[str, Any] = {
    "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
    "kwargs": [{}, {"num_words": 3.0, "relation": "at least"}],
}


@pytest.mark.parametrize(("text", "share"), [("one two three", 1), ("one two", 0.5), ("one, two", 0)])
def test_all_instructions_count_together_or_by_their_share(text: str, share: float) -> None:
    assert instructions(rollout(text, **TWO)).value == float(share == 1)
    assert instructions(rollout(text, **TWO), partial=True).value == share


@pytest.mark.parametrize(("mode", "value"), [("strict", 0), ("loose", 1)])
@pytest.mark.parametrize(
    "text", ['Sure, here it is:\n"All of it."', '"All of it."\nI hope you like it.', '*"All of it."*']
)
def test_loose_mode_leaves_out_the_frame(mode: Mode, value: int, text: str) -> None:
    asked: dict[str, Any] = {"instruction_id_list": ["startend:quotation"], "kwargs": [{}]}
    assert instructions(rollout(text, **asked), mode=mode).value == value


def test_thinking_is_not_part_of_the_response() -> None:
    asked: dict[str, Any] = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    assert instructions(rollout("<think>well, well</think>No comma.", **asked)).value == 1
    assert instructions(rollout("No comma.<think>well</think>One, two.", **asked)).value == 0
    assert instructions(rollout("<think>No comma.", **asked)).value == 0
    assert instructions(rollout("No comma.", prompt="Write. <think>", **asked)).value == 0


@pytest.mark.parametrize(
    ("names", "kwargs", "why"),
    [
        (["punctuation:no_coma"], [{}], "Did you mean 'punctuation:no_comma'"),
        (["punctuation:no_comma"], [{}, {}], "one meta['kwargs'] each"),
        ([], [], "no meta"),
        ("punctuation:no_comma", [{}], "no meta"),
        (["keywords:existence"], [{}], "keywords"),
        (["keywords:frequency"], [{"keyword": "a", "frequency": 1, "relation": "more than"}], "'more than'"),
    ],
)
def test_instructions_that_cannot_be_checked_are_unscorable(names: object, kwargs: object, why: str) -> None:
    score = instructions(rollout("text", instruction_id_list=names, kwargs=kwargs))
    assert score.outcome == "unscorable"
    assert why in score.why
