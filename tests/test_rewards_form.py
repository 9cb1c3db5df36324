"""Rewards for the form of a completion: tags, length, repetition and language."""

import pytest
from reward_cases import R1_PROMPT, rollout

from reasonrl import ConfigError
from reasonrl_rewards.format import r1_format, r1_format_graded, think_format
from reasonrl_rewards.language import language
from reasonrl_rewards.length import cosine_length, length
from reasonrl_rewards.repetition import repetition

# r1_format


@pytest.mark.parametrize(
    "text",
    ["<think>a</think><answer>8</answer>", " \n<think> a\nb </think>\n<answer> 8 </answer>\n"],
)
def test_the_r1_form_scores_1(text: str) -> None:
    assert r1_format(rollout(text)).value == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8",
        "a</think><answer>8</answer>",
        "<think>a</think>",
        "<answer>8</answer>",
        "<answer>8</answer><think>a</think>",
        "<think></think><answer>8</answer>",
        "<think> \n </think><answer>8</answer>",
        "<think>a</think><answer> </answer>",
        "<think>a</think>so<answer>8</answer>",
        "hm <think>a</think><answer>8</answer>",
        "<think>a</think><answer>8</answer> User:",
        "<think>a</think><answer>8</answer><answer>8</answer>",
        "<think>a</think><think>b</think><answer>8</answer>",
        "<think><think>a</think><answer>8</answer>",
        "<think>a</think></think><answer>8</answer>",
        "<think>a<answer>8</answer></think>",
        "<think>a</think><answer>8",
        "<Think>a</Think><answer>8</answer>",
        "<think>a</think><answer>8</answer>" * 2,
        "</think><think>a<answer></answer>",
        R1_PROMPT,
    ],
)
def test_anything_but_the_r1_form_scores_0(text: str) -> None:
    assert r1_format(rollout(text)).value == 0


def test_a_missing_tag_is_named() -> None:
    assert r1_format(rollout("<think>a</think> 8")).why == "0 times <answer>, wanted once"


def test_the_opening_tag_of_the_template_counts() -> None:
    for prompt in (R1_PROMPT + " <think>", R1_PROMPT + " <think>\n"):
        assert r1_format(rollout("a</think> <answer>8</answer>", prompt=prompt)).value == 1
        assert r1_format(rollout("<think>a</think> <answer>8</answer>", prompt=prompt)).value == 0


# length


@pytest.mark.parametrize(
    ("num_tokens", "value"), [(0, 0), (100, 0), (101, -0.01), (150, -0.5), (200, -1), (10_000, -1)]
)
def test_length_costs_in_a_line_between_the_limits(num_tokens: int, value: float) -> None:
    score = length(rollout("", num_tokens=num_tokens), soft_limit_tokens=100, hard_limit_tokens=200)
    assert score.value == pytest.approx(value)


def test_no_cost_is_a_plain_zero() -> None:
    assert str(length(rollout(""), soft_limit_tokens=1, hard_limit_tokens=2).value) == "0.0"


@pytest.mark.parametrize(("soft", "hard"), [(200, 100), (100, 100), (-1, 100)])
def test_limits_out_of_order_are_refused(soft: int, hard: int) -> None:
    with pytest.raises(ConfigError, match=f"got {soft} and {hard}"):
        length(rollout(""), soft_limit_tokens=soft, hard_limit_tokens=hard)


# r1_format_graded


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<think>a</think><answer>8</answer>", 1),
        ("<think>a</think> so <answer>8</answer> bye", 1),
        ("<think>a</think><answer>8", 0.75),
        ("<think>a</think> 8", 0.5),
        ("a</think> 8", 0.25),
        ("<answer>8</answer>", 0.5),
        ("8", 0),
        ("<think></think><answer></answer>", 0.5),
        ("<think></think> <answer>8</answer>", 0.75),
        ("<answer>8</answer><think>a</think>", 0.5),
        ("</answer><answer></think><think>", 0.25),
        ("<think><think>a</think><answer>8</answer>", 0.75),
        ("<think>a</think><answer>8</answer>" * 2, 0),
        ("<think>a</think>" + "<answer>8</answer>" * 50, 0.5),
        ("<THINK>a</THINK><ANSWER>8</ANSWER>", 0),
        (R1_PROMPT, 0),
    ],
)
def test_each_tag_in_its_place_is_a_quarter(text: str, value: float) -> None:
    assert r1_format_graded(rollout(text)).value == value


def test_the_opening_tag_of_the_template_is_a_quarter_too() -> None:
    assert r1_format_graded(rollout("a</think><answer>8</answer>", prompt=R1_PROMPT + " <think>")).value == 1
    assert r1_format_graded(rollout("8", prompt=R1_PROMPT + " <think>")).value == 0.25


# think_format


@pytest.mark.parametrize("text", ["<think>a</think>8", "\n<think>\na\n</think>\n\nThe answer is 8.\n"])
def test_thinking_and_then_an_answer_score_1(text: str) -> None:
    assert think_format(rollout(text)).value == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8",
        "a</think>8",
        "<think>a</think>",
        "<think>a</think> \n ",
        "<think> </think>8",
        "<think>a",
        "so <think>a</think>8",
        "so\n<think>a</think>8",
        "<think>a</think>8<think>b</think>",
        "<think><think>a</think>8",
        "<think>a</think></think>8",
        "</think>a<think>8",
        R1_PROMPT,
    ],
)
def test_anything_but_thinking_and_then_an_answer_scores_0(text: str) -> None:
    assert think_format(rollout(text)).value == 0


def test_thinking_that_the_template_opened_counts() -> None:
    assert think_format(rollout("a</think>8", prompt="What? <think>\n")).value == 1
    assert think_format(rollout("8", prompt="What? <think>\n")).value == 0


# cosine_length


@pytest.mark.parametrize(
    ("text", "num_tokens", "value"),
    [
        (r"\boxed{8}", 0, 1),
        (r"\boxed{8}", 50, 0.75),
        (r"\boxed{8}", 99, 0.5),
        (r"\boxed{9}", 0, -1),
        (r"\boxed{9}", 50, -0.75),
        (r"\boxed{9}", 99, -0.5),
        ("", 0, -1),
        (r"\boxed{7} or 8", 0, -1),
        (r"<think>\boxed{8}", 0, -1),
        (r"\boxed{8}", 100, -1),
        (r"\boxed{9}", 10_000, -1),
    ],
)
def test_short_right_answers_and_long_wrong_ones_are_worth_more(text: str, num_tokens: int, value: float) -> None:
    score = cosine_length(rollout(text, num_tokens=num_tokens), max_tokens=100)
    assert score.value == pytest.approx(value, abs=1e-3)


def test_a_longer_right_answer_is_never_worth_more() -> None:
    values = [cosine_length(rollout(r"\boxed{8}", num_tokens=n), max_tokens=50).value or 0.0 for n in range(51)]
    assert values == sorted(values, reverse=True)


def test_a_limit_of_no_tokens_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_tokens is 0"):
        cosine_length(rollout(""), max_tokens=0)


# repetition


def test_a_text_without_repetition_costs_nothing() -> None:
    assert repetition(rollout(" ".join(map(str, range(500))))).value == 0
    assert repetition(rollout("")).value == 0


def test_one_sentence_over_and_over_costs_nearly_1() -> None:
    value = repetition(rollout("Wait, let me check that once more. " * 200)).value
    assert value is not None
    assert -1 <= value < -0.95


@pytest.mark.parametrize("text", ["a" * 5_000, "哈" * 500, "?" * 500, "ha " * 500, "Ha ha HA hA " * 100])
def test_repetition_without_words_is_seen(text: str) -> None:
    value = repetition(rollout(text)).value
    assert value is not None
    assert value < -0.9


def test_half_a_text_repeated_costs_half() -> None:
    half = " ".join(map(str, range(500)))
    assert repetition(rollout(f"{half} {half}")).value == pytest.approx(-0.5, abs=0.03)


def test_runs_are_as_long_as_asked() -> None:
    text = "one two three. one two four. one two five."
    assert repetition(rollout(text)).value == 0
    assert repetition(rollout(text), ngram_size=2).value == pytest.approx(-3 / 11)
    with pytest.raises(ConfigError, match="ngram_size is 0"):
        repetition(rollout(text), ngram_size=0)


# language

ENGLISH = "We add the two numbers in the first row and then multiply the result by seven, which gives the total."
GERMAN = "Wir addieren die beiden Zahlen in der ersten Zeile und multiplizieren das Ergebnis danach mit sieben."
FRENCH = "Nous ajoutons les deux nombres de la première ligne, puis nous multiplions le résultat par sept."
CHINESE = "我们先把第一行的两个数字加起来,然后把结果乘以七,最后再减去刚才算出来的余数,这样就得到了题目要求的总数。"
RUSSIAN = "Мы складываем два числа в первой строке, а затем умножаем полученный результат на семь."
TEXTS = {"en": ENGLISH, "de": GERMAN, "fr": FRENCH, "zh": CHINESE, "ru": RUSSIAN}


@pytest.mark.parametrize("written", TEXTS)
@pytest.mark.parametrize("wanted", TEXTS)
def test_a_text_is_in_its_own_language_only(written: str, wanted: str) -> None:
    assert language(rollout(TEXTS[written]), language=wanted).value == float(written == wanted)


def test_a_text_that_switches_is_partly_right() -> None:
    for other in (CHINESE, GERMAN):
        value = language(rollout(f"{ENGLISH}\n{other}\n{ENGLISH}")).value
        assert value is not None
        assert 0.5 < value < 0.9


def test_maths_and_code_are_in_no_language() -> None:
    math = r"$\frac{x}{y} = \text{total amount}$ \[ \alpha + \beta \] ```print('Hallo Welt, wie geht es dir')```"
    assert language(rollout(f"{CHINESE} {math}"), language="zh").value == 1
    assert language(rollout(math)).value == 0


def test_letters_that_only_look_right_do_not_count() -> None:
    disguised = ENGLISH.replace("e", "\N{CYRILLIC SMALL LETTER IE}").replace("o", "\N{CYRILLIC SMALL LETTER O}")
    value = language(rollout(disguised)).value
    assert value is not None
    assert value < 0.9


def test_text_without_words_gets_nothing() -> None:
    for text in ("", "42", "1 + 1 = 2", "x", "\N{PARTY POPPER}"):
        assert language(rollout(text)).value == 0


def test_an_unknown_language_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no 'enn'"):
        language(rollout(""), language="enn")
