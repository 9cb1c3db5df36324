"""Reading answers, numbers and expressions out of whatever a model may write."""

import re
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonrl import Problem, Rollout, Trajectory
from reasonrl_grading.answers import (
    MARKED_AND_PROSE,
    CountdownResult,
    Source,
    as_number,
    countdown_numbers,
    evaluate_expression,
    extract_answer,
    outside_thinking,
    read_answer,
    same_number,
    solves_countdown,
)

ALL_SOURCES: tuple[Source, ...] = (*MARKED_AND_PROSE, "last_number", "whole")
PIECES = st.sampled_from(
    [
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        r"\boxed{",
        "}",
        "{",
        "#### ",
        "The answer is ",
        "Answer:",
        "$",
        "$$",
        r"\[",
        r"\)",
        "**",
        ".",
        "12",
        "-",
        "/",
        " ",
        "\n",
        "é",
    ]
)
TEXTS = st.one_of(st.text(), st.lists(PIECES).map("".join))


def rollout(text: str, prompt: str = "What is 1 + 1?") -> Rollout:
    completion = Trajectory.single_turn(
        token_ids=(), text=text, logprobs=(), finish_reason="stop", policy_version=0, sample_index=0, seed=0
    )
    problem = Problem(id="1", task="test", prompt=prompt, answer="2")
    return Rollout(problem=problem, prompt=prompt, trajectory=completion)


# Extraction


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<answer>85</answer>", "85"),
        ("<answer>\n 85 \n</answer>", "85"),
        ("<answer>3</answer> no, <answer>4</answer>", "4"),
        ("<answer>3 or 4</answer>", "3 or 4"),
        ("<answer>3 <answer>4</answer>", "4"),
        ("<answer>3</answer> 4</answer>", "3"),
        ("<answer>3</answer> <answer>4", "3"),
        ("<answer></answer>", None),
        ("<answer>3</answer>\n<answer>4</answer>", "3, 4"),
        ("<ANSWER>3</ANSWER>", None),
        ("answer: 3", None),
        ("", None),
    ],
)
def test_the_last_complete_answer_tag_counts(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{85}", "85"),
        (r"\boxed {85}", "85"),
        (r"\boxed{1} is first. It is \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"{ \boxed{5}", "5"),
        (r"\boxed{5}}", "5"),
        (r"\boxed{1} so \boxed{2", "1"),
        (r"\boxed{1", None),
        (r"\boxed{}", None),
        (r"\boxed 5", "5"),
        (r"so $\boxed -\frac12$.", r"-\frac12"),
        (r"in \boxed notation", None),
        (r"\fbox{7}", "7"),
        (r"\\boxed{7}", "7"),
        ("\\boxed\n{\n  \\frac{1}\n {2}\n}", "\\frac{1}\n {2}"),
        (r"\boxed{$\boxed{5}$}", "5"),
    ],
)
def test_the_last_box_with_balanced_braces_counts(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer


def test_a_box_in_a_box_is_one_answer() -> None:
    assert extract_answer(r"\boxed{\boxed{5}}") == "5"


def test_a_box_that_hedges_around_another_is_read_as_a_whole() -> None:
    assert extract_answer(r"\boxed{3 or \boxed{5}}") == r"3 or \boxed{5}"


def test_a_box_around_the_whole_answer_tag_is_taken_away() -> None:
    assert extract_answer(r"<answer> \boxed{5} </answer>") == "5"


def test_two_boxes_in_an_answer_tag_stay_two() -> None:
    assert extract_answer(r"<answer>\boxed{5}\boxed{6}</answer>") == "5, 6"
    assert extract_answer(r"<answer>\boxed{5} is it. Then \boxed{6}</answer>") == r"\boxed{5} is it. Then \boxed{6}"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("so 5\n#### 5", "5"),
        ("#### 5\n#### 1,234 \nbye", "1,234"),
        ("####5", "5"),
        ("##### 5", None),
        ("#### ", None),
    ],
)
def test_the_line_after_the_last_hashes_counts(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer


def test_a_heading_after_hashes_is_no_answer() -> None:
    assert extract_answer("#### Step 3: Conclusion\nso it is 5") is None
    assert extract_answer("#### Final Answer:\n5") is None
    assert extract_answer("#### Solution\n5 and 5 is 10.") is None
    assert extract_answer("#### 2. Add them up\n5 and 5 is 10.") is None
    assert extract_answer("#### 5 apples\nThat is all.") == "5 apples"
    assert extract_answer("#### New York") == "New York"
    assert extract_answer("#### 5\n#### Why it is right\nIt is.") == "5"
    assert extract_answer("#### **42**") == "42"


def test_a_sentence_in_a_mark_gives_what_it_says() -> None:
    assert extract_answer("<answer>The answer is 5.</answer>") == "5"
    assert extract_answer(r"<answer>So the final answer is $\frac{1}{2}$.</answer>") == r"\frac{1}{2}"
    assert extract_answer("#### Answer: 42") == "42"
    assert extract_answer(r"\boxed{\text{The answer is } 5}") == "5"
    assert extract_answer(r"\boxed{\text{The answer is } 5 \text{ or } 7}") != "5"
    assert extract_answer("<answer>The answer is 5. No, 7.</answer>") == "The answer is 5. No, 7."
    assert extract_answer("<answer>7 is wrong. The answer is 5.</answer>") == "7 is wrong. The answer is 5."


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The final answer is 42.", "42"),
        (r"Final Answer: The final answer is $\frac12$. I hope it is correct.", r"\frac12"),
        ("answer: 7", "7"),
        ("ANSWER: $X$", "X"),
        ("**Answer:** 7", "7"),
        ("**Answer**: 7.", "7"),
        ("Answer: **B**", "B"),
        ("**The final answer is 7.**", "7"),
        (r"\textbf{Answer:} 5", "5"),
        ("My answer: 5\nbye", "5"),
        ("The answer is x = 3. So we stop.", "x = 3"),
        ("The answer is **x = 5**.", "x = 5"),
        ("The answer is 3.5.", "3.5"),
        ("The answer is .5", ".5"),
        ("The answer is -5.", "-5"),
        ("The answer is 1,234.", "1,234"),
        ("The answer is 5 cm^2.", "5 cm^2"),
        ("The answer is $5. It costs $3 more.", "$5"),
        (r"The answer is \(x^2+1\).", "x^2+1"),
        ("The answer is:\n\\[ \\frac{3}{4} \\]\n", r"\frac{3}{4}"),
        ("## Final Answer\n\n42\n", "42"),
        ("**Final Answer**\n\n$$\n42\n$$", "42"),
        ("The correct option is (B).", "(B)"),
        ("The answer to the first question is 12 apples.", "12 apples"),
        ('Answer: "Paris"', "Paris"),
        ("The answer is 42, because 6 * 7 = 42.", "42"),
        ("The answer is 42 (since 6 * 7 = 42).", "42"),
        ("The answer is 42, which is even.", "42"),
        ("The answer is 7. The answer is 8.", "8"),
        ("The answer is 3/4. This answer is correct.", "3/4"),
        ("The answer is 3/4. The answer is in simplest form.", "3/4"),
        ("The answer is in the interval (1, 2).", "in the interval (1, 2)"),
        ("The answer is 7 or 8.", "7 or 8"),
        ("The answer is $7$ or $8$.", "$7$ or $8$"),
        ("The answer is 5 and 7", "5 and 7"),
        ("Is the answer 5? The answer is 5?", None),
        ("The answer is 4. Or is it that the answer is 5?", "4"),
        ("Final answer:", None),
        ("answerable: 5", None),
        ("The answer is " + "so " * 1_000 + "5", None),
        ("<think>The answer is 5.</think> I do not know.", None),
    ],
)
def test_the_last_phrase_says_the_answer(text: str, answer: str | None) -> None:
    assert extract_answer(text, ("phrase",)) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So:\n42", "42"),
        ("So:\n**42**.", "42"),
        ("So:\n$\\frac12$.\n\n", r"\frac12"),
        ("So:\n$$\n42\n$$", "42"),
        ("So:\n\\[ x+1 \\]", "x+1"),
        ("So:\nx = 5", "x = 5"),
        ("So:\n12 apples", "12 apples"),
        ("So:\n5 km/h", "5 km/h"),
        ("So:\n50%", "50%"),
        ("So:\n$18", "$18"),
        ("So:\n(B)", "(B)"),
        ("So:\n**Paris**", "Paris"),
        (r"\frac{1}{2}", r"\frac{1}{2}"),
        ("7, 8", "7, 8"),
        ("so it is 42", None),
        ("42\nDone.", None),
        ("12 red apples", None),
        ("5 or 6", None),
        ("$x$ and $y$", None),
        ("So $$5$$", None),
        ("**Final check**", None),
        ("**Note:**", None),
        ("---", None),
        ("```", None),
        ("", None),
    ],
)
def test_a_last_line_that_is_nothing_but_an_answer_counts(text: str, answer: str | None) -> None:
    assert extract_answer(text, ("last_line",)) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"So we get $\frac{1}{2}$.", r"\frac{1}{2}"),
        ("It is half of 36. Thus she has 18 apples.", "18"),
        (r"Hence, \(x = \frac{3}{4}\).", r"x = \frac{3}{4}"),
        ("Therefore, **x = 7**", "7"),
        ("We compute 6*7 = 42", None),
        ("Thus $x=1$ or $x=2$.", None),
        ("So the numbers are 3, 4 and 5.", None),
        ("So is it 5?", None),
        ("So 5 it is. But I am not sure", None),
        ("So " + "$x" * 200_000, None),
    ],
)
def test_a_last_sentence_that_concludes_ends_in_the_answer(text: str, answer: str | None) -> None:
    assert extract_answer(text, ("conclusion",)) == answer


def test_a_mark_outranks_a_phrase_and_a_phrase_the_last_line() -> None:
    text = "\\boxed{1}. The answer is 2.\n3"
    assert extract_answer(text, MARKED_AND_PROSE) == "1"
    assert extract_answer(text.replace("boxed", "text"), MARKED_AND_PROSE) == "2"
    assert extract_answer("It is so.\n3", MARKED_AND_PROSE) == "3"


def test_the_whole_text_may_be_the_answer() -> None:
    assert extract_answer(" x + 1\n", ("whole",)) == "x + 1"
    assert extract_answer(r"$\boxed{5}$", ("whole",)) == "5"
    assert extract_answer("<think>hm</think> 5", ("whole",)) == "5"


def test_one_box_in_an_answer_tag_is_its_answer() -> None:
    assert extract_answer(r"<answer>We get $\boxed{5}$ in the end.</answer>") == "5"


def test_sources_are_tried_in_the_given_order() -> None:
    text = r"<answer>1</answer> \boxed{2} #### 3"
    assert extract_answer(text) == "1"
    assert extract_answer(text, ("boxed", "answer_tag")) == "2"
    assert extract_answer(text, ("hash",)) == "3"


def test_an_empty_source_leaves_the_answer_to_the_next_one() -> None:
    assert extract_answer(r"<answer> </answer> \boxed{2}") == "2"


def test_a_hedge_in_the_first_source_is_not_replaced_by_a_later_source() -> None:
    assert extract_answer("<answer>3 or 4</answer>", ALL_SOURCES) == "3 or 4"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a <think> b </think> c", "a \n c"),
        ("a <think> b", "a "),
        ("a </think> b", " b"),
        ("a </think> b </think> c", " c"),
        ("a <think> b </think> c </think> d", " d"),
        ("<think> a <think> b </think> c", "\n c"),
        ("a", "a"),
    ],
)
def test_thinking_is_hidden(text: str, shown: str) -> None:
    assert outside_thinking(text) == shown


@pytest.mark.parametrize("mark", ["<answer>7</answer>", r"\boxed{7}", "#### 7", "7"])
@pytest.mark.parametrize("around", ["<think>{}</think>", "<think>{}", "{}</think>", "<think><think>{}</think>"])
def test_an_answer_inside_thinking_does_not_count(around: str, mark: str) -> None:
    assert extract_answer(around.format(mark), ALL_SOURCES) is None


def test_thinking_does_not_join_what_stands_around_it() -> None:
    assert extract_answer("4<think>hm</think>2", ("last_number",)) == "2"
    assert extract_answer("<ans<think></think>wer>4</answer>") is None


def test_thinking_that_the_prompt_opened_hides_up_to_its_end() -> None:
    prompt = "What is 1 + 1? Assistant: <think>\n"
    assert read_answer(rollout("I guess <answer>2</answer>", prompt)) is None
    assert read_answer(rollout("I guess 3</think><answer>2</answer>", prompt)) == "2"


def test_tags_earlier_in_the_prompt_do_not_hide_the_completion() -> None:
    prompt = "Use <think> </think> and <answer> answer here </answer>. Assistant:"
    assert read_answer(rollout("<answer>2</answer>", prompt)) == "2"


def test_a_copy_of_the_template_has_no_numeric_answer() -> None:
    copied = "<think> reasoning process here </think> <answer> answer here </answer>"
    assert as_number(extract_answer(copied) or "") is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("47 + 38 is 85.", "85"),
        ("The answer is 85", "85"),
        ("It costs $1,234.50.", "1,234.50"),
        ("47-38", "38"),
        ("47 - 38", "38"),
        ("47 -38", "38"),
        ("(1+2)-3", "3"),
        ("x = -5", "-5"),
        ("it is -5", "-5"),
        ("it is \N{MINUS SIGN}5", "-5"),
        ("a debt of -$5", "-5"),
        ("5 * -3", "-3"),
        ("page-5", "5"),
        ("one of 7, 8, 9,", "9"),
        ("1,2345", "2345"),
        ("0.75", "0.75"),
        ("= .75", ".75"),
        ("so 3/4.", "3/4"),
        (r"so \frac{3}{4}", r"\frac{3}{4}"),
        ("1.5e3 metres", "1.5e3"),
        ("50%", "50"),
        ("85cm", "85"),
        ("**85**", "85"),
        ("at x1", None),
        ("no number", None),
        ("\N{ARABIC-INDIC DIGIT THREE}", None),
    ],
)
def test_the_last_number_is_read_as_a_person_would(text: str, number: str | None) -> None:
    assert extract_answer(text, ("last_number",)) == number


@given(TEXTS)
def test_extraction_never_raises_and_never_returns_an_empty_answer(text: str) -> None:
    for source in ALL_SOURCES:
        answer = extract_answer(text, (source,))
        assert answer is None or answer.strip()


@given(TEXTS, TEXTS)
def test_what_stands_before_the_end_of_thinking_decides_nothing(before: str, after: str) -> None:
    assert extract_answer(before + "<think></think></think>" + after) == extract_answer(after)


@given(st.integers(-(10**9), 10**9))
def test_the_last_number_of_a_sentence_is_its_number(number: int) -> None:
    assert extract_answer(f"The answer is {number:,}.", ("last_number",)) == f"{number:,}"


@pytest.mark.parametrize(
    "text",
    [
        "<answer>" * 20_000,
        "<answer>" + r"\boxed{" * 20_000 + "}" * 20_000 + "</answer>",
        r"\boxed $" * 20_000,
        "answer " * 20_000,
        "answer: " * 20_000,
        "the answer is $" * 10_000,
        r"the answer is \(" * 10_000,
        "the answer is " + r"\(" * 50_000,
        "the answer is 5? " * 10_000,
        "answer to " + "a " * 50_000,
        "answer" + " " * 100_000,
        "final answer\n" * 10_000,
        "$" * 100_000,
        r"\[" * 50_000 + r"\]",
        "*" * 100_000,
        "#### a b\n" * 10_000,
        "<answer>" + "<" * 100_000,
        r"\boxed{" * 20_000,
        r"\boxed{" * 20_000 + "}" * 20_000,
        r"\boxed" + " " * 100_000,
        "1" + ",234" * 30_000 + "5",
        "9" * 100_000,
        "1/" * 50_000,
        "#" * 100_000,
        "<think>" * 20_000,
        "(" * 100_000,
        " " * 100_000,
    ],
    ids=lambda text: text[:12],
)
def test_hostile_texts_take_little_time(text: str) -> None:
    started = time.process_time()
    for source in ALL_SOURCES:
        extract_answer(text, (source,))
    as_number(text)
    evaluate_expression(text)
    evaluate_expression(text, max_length=len(text))
    assert time.process_time() - started < 5


# Numbers


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("85", 85),
        (" 85. ", 85),
        ("+85", 85),
        ("-85", -85),
        ("\N{MINUS SIGN}85", -85),
        ("007", 7),
        ("1,234", 1234),
        ("1,234,567.5", Fraction("1234567.5")),
        (r"10,\!080", 10080),
        ("0.10", Fraction(1, 10)),
        (".5", Fraction(1, 2)),
        ("$18", 18),
        ("$18.", 18),
        ("$18$", 18),
        (r"\$18.50", Fraction("18.5")),
        ("-$5", -5),
        ("$-5$", -5),
        ("3/4", Fraction(3, 4)),
        ("-6 / 8", Fraction(-3, 4)),
        (r"\frac{3}{4}", Fraction(3, 4)),
        (r"-\dfrac{3}{4}", Fraction(-3, 4)),
        (r"\frac{-3}{4}", Fraction(-3, 4)),
        (r"\frac34", Fraction(3, 4)),
        ("1e3", 1000),
        ("1.5E-2", Fraction("0.015")),
        ("1e300", 10**300),
    ],
)
def test_plain_numbers_have_an_exact_value(text: str, value: Fraction | int) -> None:
    assert as_number(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "$",
        ".",
        "-",
        "abc",
        "3 or 4",
        "3, 4",
        "85 apples",
        "50%",
        "x=5",
        "8=7",
        "1 1/2",
        "1,23",
        "01,234",
        "1_000",
        "1.2.3",
        "5..",
        "--5",
        "- 5",
        "1/0",
        r"\frac{1}{0}",
        "2+3",
        "2**3",
        "9^9",
        "nan",
        "inf",
        "0x10",
        "1e301",
        "1e-301",
        "1e999999999999",
        "9" * 201,
        "1/" + "9" * 5000,
        "\N{ARABIC-INDIC DIGIT THREE}",
        "\N{SUPERSCRIPT TWO}",
        "__import__('os')",
    ],
)
def test_anything_else_is_not_a_number(text: str) -> None:
    assert as_number(text) is None


@given(st.fractions(max_denominator=10**9))
def test_fractions_are_read_back(value: Fraction) -> None:
    assert as_number(f"{value.numerator}/{value.denominator}") == value


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=4))
def test_decimals_are_read_back_with_and_without_separators(value: object) -> None:
    assert as_number(f"{value:f}") == as_number(f"{value:,f}") == Fraction(f"{value:f}")


@given(TEXTS)
def test_reading_a_number_never_raises(text: str) -> None:
    as_number(text)


@given(st.text(alphabet="0123456789.,/$-+eE{}\\frac ", max_size=30))
def test_reading_what_looks_like_a_number_never_raises(text: str) -> None:
    as_number(text)


def test_numbers_are_compared_exactly() -> None:
    assert same_number("0.50", "1/2")
    assert same_number("$1,000.", "1000")
    assert not same_number("0.333333", "1/3")
    assert not same_number("0.0000001", "0.0000002")
    assert not same_number("100000000000000000000", "100000000000000000001")


def test_two_texts_that_are_no_numbers_are_not_the_same_number() -> None:
    assert not same_number("abc", "abc")


# Expressions


@pytest.mark.parametrize(
    ("text", "value", "numbers"),
    [
        ("7", 7, [7]),
        ("1 + 2 * 3", 7, [1, 2, 3]),
        ("(1 + 2) * 3", 9, [1, 2, 3]),
        ("8 - 3 - 2", 3, [8, 3, 2]),
        ("8 / 4 / 2", 1, [8, 4, 2]),
        ("1 / 3", Fraction(1, 3), [1, 3]),
        ("-3 + 8", 5, [3, 8]),
        ("2 * -3", -6, [2, 3]),
        ("6 \N{MULTIPLICATION SIGN} 4 \N{DIVISION SIGN} 3", 8, [6, 4, 3]),
        ("9 \N{MINUS SIGN} 4", 5, [9, 4]),
        (r"$6 \times 4 \div 3$", 8, [6, 4, 3]),
        (r"6 \cdot 4", 24, [6, 4]),
        ("6 * 4 = 24", 24, [6, 4]),
        ("6 * 4 = 25", 24, [6, 4]),
        ("6 * 4 =24.", 24, [6, 4]),
    ],
)
def test_an_expression_has_a_value_and_numbers(text: str, value: Fraction | int, numbers: list[int]) -> None:
    assert evaluate_expression(text) == (value, numbers)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "= 24",
        "()",
        "1 +",
        "* 2",
        "1 2",
        "2(3)",
        "(1 + 2",
        "1 + 2)",
        "2 ** 3",
        "99**99**99",
        "7 // 2",
        "7 % 2",
        "1.5 + 2",
        "1e9",
        "1 / 0",
        "1 / (2 - 2)",
        "24 = 6 * 4",
        "1 + 2 = 3 = 3",
        "x + 1",
        "1 + 2, 3",
        "\N{ARABIC-INDIC DIGIT THREE} + 1",
        "__import__('os')",
        "(" * 60 + "1" + ")" * 60,
        "-" * 60 + "1",
        "1" + "+1" * 100,
    ],
)
def test_anything_else_is_not_an_expression(text: str) -> None:
    assert evaluate_expression(text) is None


def test_the_length_limit_is_the_callers() -> None:
    assert evaluate_expression("1 + 1", max_length=4) is None
    assert evaluate_expression("1" + "+1" * 100, max_length=201) == (Fraction(101), [1] * 101)


def _expressions() -> st.SearchStrategy[str]:
    leaves = st.integers(0, 99).map(str)
    return st.recursive(
        leaves,
        lambda inner: st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda parts: f"({' '.join(parts)})"),
        max_leaves=8,
    )


@given(_expressions())
def test_the_value_agrees_with_python(text: str) -> None:
    in_python = "".join(f"Fraction({token})" if token.isdigit() else token for token in _tokens(text))
    try:
        expected = eval(in_python, {"Fraction": Fraction})
    except ZeroDivisionError:
        assert evaluate_expression(text) is None
    else:
        assert evaluate_expression(text) == (
            expected,
            [int(token) for token in _tokens(text) if token.isdigit()],
        )


def _tokens(text: str) -> list[str]:
    return text.replace("(", " ( ").replace(")", " ) ").split()


@settings(max_examples=300)
@given(st.one_of(st.text(max_size=220), st.text(alphabet="0123456789+-*/()= .", max_size=220)))
def test_reading_an_expression_never_raises(text: str) -> None:
    evaluate_expression(text)


# Countdown


@pytest.mark.parametrize(
    ("expression", "right", "why"),
    [
        ("(3 + 5) * 2", True, "is 16"),
        ("2 * (5 + 3) = 16", True, "is 16"),
        ("3 + 5 * 2", False, "is 13, not 16"),
        ("2 * 5 + 3 + 3", False, r"uses \[2, 3, 3, 5\]"),
        ("16", False, r"uses \[16\]"),
        ("16 + 0 * 2 * 3 * 5", False, "uses"),
        ("3 * 5 + 1", False, "uses"),
        ("8 * 2", False, "uses"),
        ("2 5 3", False, "not an arithmetic expression"),
        ("(3+5)*2 or (5+3)*2", False, "not an arithmetic expression"),
    ],
)
def test_countdown_needs_the_target_and_every_number_once(expression: str, right: bool, why: str) -> None:
    result = solves_countdown(expression, [3, 5, 2], 16)
    assert result.right is bool(result) is right
    assert re.search(why, result.why)


def test_a_repeated_number_must_be_used_as_often_as_it_is_given() -> None:
    assert solves_countdown("4 + 4", [4, 4], 8)
    assert not solves_countdown("4 + 4", [4], 8)
    assert not solves_countdown("4", [4, 4], 4)


def test_a_result_that_is_only_near_the_target_is_wrong() -> None:
    assert not solves_countdown("1 / 3 * 3 + 1 / 99999999", [1, 3, 3, 1, 99999999], 1)


def test_a_negative_result_is_false() -> None:
    assert not CountdownResult(False, "wrong")


@pytest.mark.parametrize(
    ("meta", "answer", "asked"),
    [
        ({"numbers": [3, 5]}, "8", ([3, 5], 8)),
        ({"numbers": [3, 5]}, "1/2", None),
        ({"numbers": [3, 5]}, "eight", None),
        ({"numbers": [3, True]}, "8", None),
        ({"numbers": [3, "5"]}, "8", None),
        ({"numbers": "3, 5"}, "8", None),
        ({}, "8", None),
    ],
)
def test_countdown_problems_are_told_from_others(
    meta: dict[str, object], answer: str, asked: tuple[list[int], int] | None
) -> None:
    problem = Problem(id="1", task="test", prompt="?", answer=answer, meta=meta)
    assert countdown_numbers(problem) == asked
