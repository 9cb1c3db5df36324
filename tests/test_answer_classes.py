"""Completions by class: which answer is found in ordinary writing, and which value is never taken for the answer."""

import inspect
import time
import typing
from collections.abc import Mapping
from dataclasses import replace
from pkgutil import resolve_name

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reward_cases import rollout

from reasonrl import Problem, Rollout
from reasonrl_grading import compare_answers
from reasonrl_grading.answers import (
    MARKED_AND_PROSE,
    Source,
    extract_answer,
    outside_thinking,
    read_answer,
    shown_text,
    stated_value,
    thinking_tag,
)
from reasonrl_rewards import reasonrl_rewards
from reasonrl_rewards.answer import numeric_answer
from reasonrl_rewards.choice import multiple_choice
from reasonrl_rewards.format import r1_format, r1_format_graded, think_format
from reasonrl_rewards.math import math

ALL_SOURCES: tuple[Source, ...] = (*MARKED_AND_PROSE, "last_number", "whole")

FOUND: Mapping[str, list[tuple[str, str]]] = {
    "several solutions in a closing sentence": [
        ("Thus the solutions are $x=1$ and $x=2$.", "$x=1$ and $x=2$"),
        ("Therefore, the roots are 3, 4 and 5.", "3, 4 and 5"),
    ],
    "a remark after the answer": [
        (r"\boxed{18.9} (about 18.9 cards)", "18.9"),
        (r"The answer is $\boxed{5}$ (since $2+3=5$).", "5"),
        ("5 (since 2 + 3 = 5)", "5"),
        ("The answer is 42 (since 6 * 7 = 42).", "42"),
        ("The answer is 42, because 6 * 7 = 42.", "42"),
        ("Final answer: 170/9 (about 18.9 cards)", "170/9"),
        ("The answer is 2 (as required).", "2"),
        ("Answer: 18 (rounded to the nearest whole number)", "18"),
        ("So:\n12 apples in total", "12 apples"),
        ("The answer is 12 in total.", "12"),
        ("Answer: $18 altogether", "$18"),
        (r"Answer: $2\sqrt{3}$ (approximately 3.46)", r"2\sqrt{3}"),
        ("The answer is 42, which is even.", "42"),
        ("Answer: 7, as desired.", "7"),
    ],
    "a closing sentence": [
        ("The largest $n$ is 34.", "34"),
        ("The product is **42**.", "42"),
        ("Therefore, there are $12$ ways.", "12"),
        ("So she pays $18 in total.", "$18"),
        ("**The product is 42.**", "42"),
        (r"The remainder is $\boxed{3}$.", "3"),
        (r"Thus the number of ways is $\binom{5}{2} = 10$.", r"\binom{5}{2} = 10"),
        (r"Hence the area is $25\pi$ square units.", r"$25\pi$ square units"),
        ("Therefore, the total cost is $18.", "$18"),
        ("So, in total, he has 18 apples.", "18"),
        ("Therefore, she makes $18 per day at the market.", "$18"),
        ("Thus, Tom needs 3 more hours.", "3"),
        (r"The probability is $\frac{1}{3}$.", r"\frac{1}{3}"),
        ("Our final sum is 100.", "100"),
        ("So x = 5.", "5"),
        ("Therefore $x = 5$.", "x = 5"),
        ("The value of $f(3)$ is $-2$.", "-2"),
        ("In conclusion, the answer is 9.", "9"),
        ("The largest $n$ is 34. I hope this helps!", "34"),
        ("So there are 12 ways.\n\nLet me know if you have any questions!", "12"),
        ("The product is **42**.\n\n$\\blacksquare$", "42"),
        ("Thus $n$ is 34.", "34"),
        ("$n$ is 34.", "34"),
        ("As a result, the farmer sold 25 cows.", "25"),
        ("Therefore, the radius is 5 cm.", "5 cm"),
        ("So the car drives 60 miles per hour.", "60 miles per hour"),
        ("So he pays 18 thousand dollars.", "18 thousand"),
        ("So she has 18 apples left.", "18"),
        (r"The minimum value is $-\frac{1}{4}$.", r"-\frac{1}{4}"),
    ],
    "a choice": [
        (r"\boxed{{B}}", "B"),
        ("Option Selected: B", "B"),
        ("Selected option: B", "B"),
        ("Correct option: (C)", "(C)"),
        ("The answer is option D.", "option D"),
        ("**Answer: B**", "B"),
        ("Answer: **(B) 5**", "(B) 5"),
        ("The correct choice is therefore **C**.", "C"),
        ("I would choose option B.", "option B"),
        ("I'd go with (C).", "(C)"),
        ("My choice is B.", "B"),
        ("Option C is correct.", "C"),
        ("(C) is the correct answer.", "(C)"),
        ("C is the best answer.", "C"),
        ("The correct answer is: B) 5 cm", "B) 5 cm"),
        ("Choice selected: A", "A"),
        ("Final choice: D", "D"),
        (r"The correct option is $\boxed{\text{C}}$.", r"\text{C}"),
        ("Chosen answer: **A**", "A"),
        (r"\boxed{\textbf{(B)}}", r"\textbf{(B)}"),
        ("**Correct Answer: C**", "C"),
    ],
    "yes and no": [
        ("Yes.", "Yes"),
        ("No", "No"),
        ("**Yes**", "Yes"),
        ("No, because 7 is odd.", "No"),
        ("So the answer is no.", "no"),
        ("Therefore, yes.", "yes"),
        ("True.", "True"),
        ("It is divisible.\nYes, since 3 divides 9.", "Yes"),
        ("The answer is yes.", "yes"),
        ("Yes — it is prime.", "Yes"),
    ],
    "boxes": [
        (r"$x=\boxed{3}$ and $y=\boxed{4}$", "3, 4"),
        (r"$x=\boxed{3}$, $y=\boxed{4}$", "3, 4"),
        (r"\boxed{3}, \boxed{4}", "3, 4"),
        ("(a) \\boxed{3}\n(b) \\boxed{4}", "3, 4"),
        ("x: \\boxed{3}\ny: \\boxed{4}", "3, 4"),
        (r"There are $\boxed{3}$ apples and $\boxed{4}$ pears.", "3, 4"),
        (r"\boxed{x=3} and \boxed{y=4}", "x=3, y=4"),
        ("\\boxed{5}\n\n\\boxed{5}", "5"),
        (r"\boxed{\frac12} or \boxed{0.5}", r"\frac12"),
        (r"First $\boxed{3}$ is found. After more work the result of everything is $\boxed{4}$.", "4"),
        (r"\boxed{3}, so the answer is \boxed{4}", "4"),
        ("\\boxed{3}\nWait.\n\\boxed{4}", "4"),
        ("Step 1: \\boxed{3}\n\nThen we go on with much more text here.\n\nStep 2: \\boxed{4}", "4"),
        (r"Final Answer: $\boxed{\frac12}$", r"\frac12"),
        (r"\[ \boxed{5} \]", "5"),
        (r"$$\boxed{5}$$", "5"),
        ("$$\n\\boxed{5}\n$$", "5"),
        (r"\text{The answer is \boxed{5}}", "5"),
        (r"\boxed{5\text{ cm}}", r"5\text{ cm}"),
        (r"\boxed{\$18}", r"\$18"),
        (r"\boxed{18\%}", r"18\%"),
        (r"\boxed{\text{Yes}}", r"\text{Yes}"),
        (r"**\boxed{5}**", "5"),
        (r"\boxed{ 5 }", "5"),
        (r"\boxed{\mathbf{5}}", r"\mathbf{5}"),
        (r"The answer is $\boxed{5}$ Would you like to see another one?", "5"),
        (r"\boxed{5} ... Put it in \boxed{}.", "5"),
        (r"\boxed{1,2,3}", "1,2,3"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\boxed{2\sqrt{3}} \approx \boxed{3.46}", r"2\sqrt{3} \approx 3.46"),
        (r"\boxed{50} or 50.0", "50"),
    ],
    "what is denied is another value": [
        (r"We do not know $y$, but $x$ is \boxed{5}.", "5"),
        (r"If we add them, the answer is \boxed{12}.", "12"),
        (r"If she buys 3, the total is $\boxed{12}$.", "12"),
        (r"Note that this is not a square, hence \boxed{12}.", "12"),
        (r"\boxed{5}. Let me check: $2+3=5$. This is correct.", "5"),
        (r"\boxed{5}. Actually, $2+3=5$.", "5"),
        (r"\boxed{5}. This is not hard to see.", "5"),
        (r"Some say 6. It is \boxed{5}.", "5"),
        ("\\boxed{5}\n\nWait, let me verify: $2 + 3 = 5$. Yes.", "5"),
        (r"I said that it would be \boxed{5}.", "5"),
        ("No, that is wrong. The answer is 6.", "6"),
        (r"\boxed{4}. No, that is wrong. \boxed{5}", "5"),
        (r"Is it \boxed{4}? No, it is \boxed{5}.", "5"),
        (r"It is \boxed{5}, not \boxed{6}.", "5"),
        ("So the number of students who do not play is 12.", "12"),
        ("So the number of wrong answers is 5.", "5"),
        ("What is the answer? The answer is 5.", "5"),
        ("The answer is 4? No. The answer is 5.", "5"),
    ],
    "marks": [
        ("<answer>3</answer> no, <answer>4</answer>", "4"),
        (r"<answer>$x=\boxed{3}$ and $y=\boxed{4}$</answer>", "3, 4"),
        (r"The answers are $\boxed{3}$ and $\boxed{4}$.", "3, 4"),
        ("Given that she has 3, the answer is 5.", "5"),
        ("Assuming no leap year, the answer is 365.", "365"),
        (r"So the minimum is \boxed{-\frac{1}{4}}", r"-\frac{1}{4}"),
        ("The final answer is:\n\n\\[\n\\boxed{\\text{(C)}}\n\\]", r"\text{(C)}"),
        ("### Answer\n\n$$\\boxed{42}$$\n\nThis is the maximum possible value.", "42"),
        (r"**Final Answer:** The final answer is $\boxed{7}$.", "7"),
        ("$\\boxed{7}$.\n\nThe answer is: $7$", "7"),
        (r"Thus, the answer is $\boxed{x=5}$.", "x=5"),
        (r"we get $\boxed{5}$ as the only solution, not $7$.", "5"),
        (r"There are two cases. In the first, it is wrong to divide. So \boxed{3}.", "3"),
    ],
    "possessives": [
        (r"So his share is \boxed{5}.", "5"),
        ("Thus her total is 18.", "18"),
        (r"Tom's total is \boxed{18}.", "18"),
        (r"The first term is \boxed{3}.", "3"),
        ("So their sum is 9.", "9"),
        ("Therefore the first number is 5.", "5"),
        (r"Frank answered $\boxed{56}$ questions correctly.", "56"),
        (r"Tom guessed \boxed{5} times.", "5"),
        (r"It is not $3$; it is $\boxed{4}$.", "4"),
        (r"We cannot use 3. So \boxed{4}.", "4"),
    ],
}
"""Completions with the answer that is found in them, by class."""

NOT_FOUND: Mapping[str, list[tuple[str, str]]] = {
    "two claims in one sentence": [
        ("The sum is 10 and the product is 24.", "24"),
        ("The sum is 10, and the product is 24.", "24"),
        ("The sum is 10; the product is 24.", "24"),
        ("Therefore, the mean is 5 while the median is 7.", "7"),
        ("So Tom has 5 and Ann has 7.", "7"),
    ],
    "a denial": [
        ("The answer is not 5.", "5"),
        (r"The answer is not \boxed{5}.", "5"),
        (r"It cannot be \boxed{5}.", "5"),
        (r"It isn't \boxed{5}.", "5"),
        (r"$x \neq \boxed{5}$", "5"),
        ("So it is not 5.", "5"),
        ("So it isn't 5.", "5"),
        ("Thus she does not have 5 apples.", "5"),
    ],
    "what is wrong": [
        (r"\boxed{5} is wrong.", "5"),
        (r"\boxed{5} is not the answer.", "5"),
        ("5 is wrong.", "5"),
        ("So 5 is wrong.", "5"),
        (r"The answer \boxed{5} is incorrect.", "5"),
        (r"\boxed{5}. That is wrong.", "5"),
        (r"\boxed{5}. Wait, that's not right.", "5"),
        ("\\boxed{5}\n\nWait, that is incorrect.", "5"),
        (r"\boxed{5}. I made a mistake.", "5"),
        (r"\boxed{5}. Scratch that.", "5"),
        (r"\boxed{5}. No, it is 6.", "5"),
        (r"\boxed{5}. Actually, it is 6.", "5"),
        (r"\boxed{5}. Actually, 6.", "5"),
        ("The answer is 5. No, it is 6.", "5"),
        ("The answer is 5. Wait, that is wrong.", "5"),
        ("The answer is 5. Sorry, 6.", "5"),
        ("<answer>5</answer> No, that is wrong.", "5"),
        ("#### 5\nThat is wrong.", "5"),
        ("<answer>5</answer>\nI was wrong.", "5"),
    ],
    "a question": [
        (r"Is it \boxed{5}?", "5"),
        ("Is the answer 5?", "5"),
        (r"Could the answer be \boxed{5}?", "5"),
        ("So is it 5?", "5"),
        ("The answer is 5?", "5"),
    ],
    "a supposition": [
        (r"If the answer were \boxed{5}, x would be 2.", "5"),
        ("If the answer is 5, then x is 2 and y unknown", "5"),
        (r"Suppose the answer is \boxed{5}.", "5"),
        ("Assume that the answer is 5.", "5"),
        (r"Assuming it is \boxed{5}, x fails.", "5"),
    ],
    "the answer of another": [
        ("The wrong answer is 5.", "5"),
        ("A common wrong answer is 5.", "5"),
        ("The first guess is 5.", "5"),
        (r"An incorrect answer is \boxed{5}.", "5"),
        ("The student's answer is 5.", "5"),
        ("Tom claims that the answer is 5.", "5"),
        ('The prompt says "The answer is 5."', "5"),
        (r"For example, \boxed{5}", "5"),
        (r"Write it in the form \boxed{5}", "5"),
    ],
    "a list of guesses": [
        (r"\boxed{4} or \boxed{5}", "5"),
        (r"\boxed{5} or \boxed{4}", "5"),
        (r"\boxed{4}, \boxed{5}", "5"),
        (r"\boxed{1} \boxed{2} \boxed{3} \boxed{4} \boxed{5}", "5"),
        ("\\boxed{1}\n\\boxed{2}\n\\boxed{5}", "5"),
        ("- \\boxed{1}\n- \\boxed{5}", "5"),
        (r"Either \boxed{4} or perhaps \boxed{5}.", "5"),
        (r"It is \boxed{4}. Or maybe \boxed{5}.", "5"),
        (r"\boxed{5} or 6", "5"),
        (r"6 or \boxed{5}", "5"),
        (r"\boxed{5}, or maybe 6", "5"),
        ("The answer is 4 or 5.", "5"),
        ("The answer is 4. Or the answer is 5.", "5"),
        ("So it is 4 or 5.", "5"),
        ("4, 5", "5"),
        ("So the answers are 4 and 5.", "5"),
        ("So 4 apples and 5 pears.", "5"),
        ("A: \\boxed{4}\nB: \\boxed{5}", "5"),
    ],
    "a bound or a part": [
        ("So she needs at least 5 boxes.", "5"),
        ("So it is more than 5.", "5"),
        ("Thus it is between 4 and 5.", "5"),
        ("So the ratio is 4 to 5.", "5"),
        ("So it takes 5 and a half hours.", "5"),
        ("So the answer is 5 thousand.", "5"),
        ("So it is minus 5.", "5"),
        ("So half of 5 is left.", "5"),
    ],
    "another statement about a number": [
        ("I tried 5, 6 and 7. The answer is one of them.", "7"),
        ("The answer is 5 or 6 or 7.", "7"),
        ("Possible answers: 5, 6, 7", "7"),
        ("The answer is 7 if x is positive, otherwise 8.", "7"),
        ("The answer is 7, unless x is 8.", "7"),
        ("The answer is either 7 or 8.", "7"),
        ("The answer is 7 and 8.", "7"),
        ("The answer is 7/8.", "7"),
        ("The answer is at least 7.", "7"),
        ("The answer is greater than 7.", "7"),
        ("The answer is less than 7.", "7"),
        ("The answer is between 6 and 7.", "7"),
        ("The answer is about 7 more than 8.", "7"),
        ("The answer is 7 times 8.", "7"),
        ("The answer is 7 out of 8.", "7"),
        ("The answer is 7 remainder 2.", "7"),
        ("The answer is not 7 but 8.", "7"),
        ("The answer isn't 7.", "7"),
        ("The answer is 7? No.", "7"),
        ("It's not true that the answer is 7.", "7"),
        ("Nobody knows whether the answer is 7.", "7"),
        ("You may think the answer is 7, but it is 8.", "7"),
        ("One might think that the answer is 7.", "7"),
        ("At first sight the answer is 7. However, it is 8.", "7"),
        ("The answer is 7. However, that is incorrect.", "7"),
        ("The answer is 7. Hmm, no. It should be 8.", "7"),
        ("The answer is 7, no wait, 8.", "7"),
        ("The answer is 7... actually 8.", "7"),
        ("The answer is 7. Correction: 8.", "7"),
        ("The answer is 7. Correction: the answer is 8.", "7"),
        ("The answer is ~~7~~ 8.", "7"),
        ("If we ignore the sign, the answer is 7? No; it is -7.", "7"),
        ("User: The answer is 7. Is that right?\nAssistant: No.", "7"),
        ("Q: Is the answer 7?\nA: no", "7"),
        ("The question says: the answer is 7", "7"),
        ('"The answer is 7" is what he wrote.', "7"),
        ("He wrote that the answer is 7.", "7"),
        ("According to Bob, the answer is 7. He is wrong.", "7"),
        ("The answer is 7 thousand.", "7"),
        ("The answer is half of 7.", "7"),
        ("The answer is -7.", "7"),
        ("The answer is minus 7.", "7"),
        ("So 7 is too small.", "7"),
        ("Thus 7 fails.", "7"),
        ("Therefore 7 cannot be the answer.", "7"),
        ("So we rule out 7.", "7"),
        ("So it exceeds 7.", "7"),
        (r"Thus $x \neq 7$.", "7"),
        ("So there is no solution for 7.", "7"),
        ("So x is not equal to 7.", "7"),
        ("So x is different from 7.", "7"),
        ("So we need to try 7.", "7"),
        ("So let us set x = 7.", "7"),
        ("So assume x = 7.", "7"),
        ("So suppose that x is 7.", "7"),
        ("Therefore, the answer is the one after 7.", "7"),
        ("Therefore, the answer is 1 more than 7.", "7"),
        ("So page 7 has it.", "7"),
        ("So in step 7 we fail.", "7"),
        ("So 7 - 3 is what we need.", "7"),
        ("So the answer is 7 - 3.", "7"),
        ("So we get 8 - 7.", "7"),
        ("So we get 2 * 7.", "7"),
        ("So it's 7:30.", "7"),
        ("So it is 7%.", "7"),
        ("So the answer is x^7.", "7"),
        ("So we get $2^7$.", "7"),
        ("7 8", "7"),
        ("7\n8", "7"),
        ("8\n7?", "7"),
        ("1. 6\n2. 7", "7"),
    ],
    "a remark that contradicts": [
        ("7 (about 8)", "7"),
        ("7 (or 8)", "7"),
        ("7 (8)", "7"),
        ("7, which is about 8", "7"),
    ],
    "a number in passing": [
        ("Let me look at step 5", "5"),
        ("I am 100% sure", "100%"),
        ("The answer is in the interval (1, 5).", "5"),
        ("It is 5.", "5"),
        ("He found that 5 works.", "5"),
        ("Maybe 5.", "5"),
        ("Therefore, either 4 or 5.", "5"),
    ],
    "denials in other places": [
        ("So that is question 5.", "5"),
        ("Thus it is impossible that x is 5.", "5"),
        ("So it is not true that x is 5.", "5"),
    ],
    "more guesses and denials": [
        (r"I think it's \boxed{5} but it could also be \boxed{6}.", "6"),
        (r"\boxed{5} (or \boxed{6})", "6"),
        ("<answer>4</answer> or <answer>5</answer>", "5"),
        ("<answer>1</answer>\n<answer>2</answer>\n<answer>5</answer>", "5"),
        (r"\boxed{5}, just kidding.", "5"),
        (r"\boxed{5} ← this is wrong", "5"),
        (r"\boxed{5} (which is incorrect)", "5"),
        (r"Wrong: \boxed{5}", "5"),
        ("Incorrect answer: 5", "5"),
        (r"I doubt that the answer is \boxed{5}.", "5"),
        ("I don't think the answer is 5.", "5"),
        ("It is unlikely that the answer is 5.", "5"),
        ("Given that the answer is 5, we check.", "5"),
        ("Either the answer is 5 or it is 6.", "5"),
        ("It might be that the answer is 5 or 6.", "5"),
        ("<answer>not 5</answer>", "5"),
        (r"<answer>not \boxed{5}</answer>", "5"),
        (r"<answer>\boxed{5} or \boxed{6}</answer>", "5"),
        ("#### not 5", "5"),
        ("**5** is incorrect.", "5"),
        ("The final answer is 5. Wait, I made an arithmetic mistake.", "5"),
    ],
}
"""Completions with a value that they do not stand by, alone, by class."""


def cases(table: Mapping[str, list[tuple[str, str]]]) -> list[tuple[str, str]]:
    return [case for rows in table.values() for case in rows]


@pytest.mark.parametrize("name", FOUND)
def test_the_answer_is_found_in_ordinary_writing(name: str) -> None:
    found = [(text, extract_answer(text, MARKED_AND_PROSE)) for text, _ in FOUND[name]]
    assert found == FOUND[name]


@pytest.mark.parametrize("name", NOT_FOUND)
def test_what_a_completion_does_not_stand_by_is_not_its_answer(name: str) -> None:
    found = [(text, extract_answer(text, MARKED_AND_PROSE), value) for text, value in NOT_FOUND[name]]
    assert [(text, answer) for text, answer, value in found if answer == value] == []


@pytest.mark.parametrize("name", NOT_FOUND)
def test_no_reward_pays_what_a_completion_does_not_stand_by(name: str) -> None:
    for text, value in NOT_FOUND[name]:
        assert math(rollout(text, value)).value == 0, text
        assert not numeric_answer(rollout(text, value), sources=MARKED_AND_PROSE).value, text


def test_a_remark_inside_the_text_of_a_box_is_no_part_of_the_answer() -> None:
    assert math(rollout(r"\boxed{\text{19 cards (about 18.9)}}", "19")).value == 1
    assert math(rollout(r"\boxed{\text{19 cards (or 20)}}", "19")).value == 0


def test_there_are_many_cases_and_none_twice() -> None:
    texts = [text for text, _ in (*cases(FOUND), *cases(NOT_FOUND))]
    assert len(set(texts)) == len(texts) >= 240


@pytest.mark.parametrize("text", [text for text, _ in FOUND["a choice"] if "B" in text])
def test_a_choice_is_paid_however_it_is_announced(text: str) -> None:
    assert multiple_choice(rollout(text, "B")).value == 1
    assert multiple_choice(rollout(text, "C")).value == 0


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("The largest $n$ is 34.", "34"),
        ("**The product is 42.**", "42"),
        ("Therefore, there are $12$ ways.", "$12$"),
        ("There are $12$ ways.", "$12$"),
        ("So she pays $18 in total.", "$18"),
        ("18 (since 20 - 2 = 18)", "18"),
        ("170/9 (about 18.9 cards)", "170/9"),
        ("option D", "D"),
        ("12 apples in total", "12 apples"),
        ("Yes, because 3 divides 9.", "Yes"),
        # What is no sentence about one value stays as it is.
        ("7 (about 8)", "7 (about 8)"),
        ("7 (8)", "7 (8)"),
        ("7 or 8", "7 or 8"),
        ("x + 1 = 7", "x + 1 = 7"),
        ("7 is wrong, 8 is right", "7 is wrong, 8 is right"),
        ("half of 7", "half of 7"),
        ("at least 7", "at least 7"),
        ("It is not 7", "It is not 7"),
        ("Is it 7?", "Is it 7?"),
        ("Each costs $2. So she pays $18.", "Each costs $2. So she pays $18."),
        (r"\frac{1}{2}", r"\frac{1}{2}"),
        ("New York", "New York"),
    ],
)
def test_a_written_out_answer_states_one_value(answer: str, value: str) -> None:
    assert stated_value(answer) == value


@pytest.mark.parametrize(
    "text",
    ["<answer>The largest $n$ is 34.</answer>", r"\boxed{34 \text{ (since } 2 \cdot 17 = 34)}", "#### 34 (about 34)"],
)
def test_a_reward_that_compares_values_reads_the_sentence_in_a_mark(text: str) -> None:
    assert math(rollout(text, "34")).value == 1
    assert math(rollout(text, "17")).value == 0


def test_a_sentence_is_compared_as_mathematics_by_what_it_states() -> None:
    assert compare_answers("The largest $n$ is 34.", "34").right
    assert compare_answers("34 (since 2 * 17 = 34)", "34").right
    assert not compare_answers("The largest $n$ is not 34.", "34").right


# Thinking


SPELLINGS = (
    *(("<think>", "</think>"), ("<thinking>", "</thinking>"), ("<THINK>", "</THINK>"), ("<Thinking>", "</thinking>")),
    *(("<reasoning>", "</reasoning>"), ("<reason>", "</reason>"), ("<thought>", "</thought>")),
    *(("<think >", "</think >"), ("< think>", "</ think>"), ('<think time="3 s">', "</think>")),
    *(("<think\n>", "</think\n>"), ("<seed:think>", "</seed:think>"), ("[THINK]", "[/THINK]")),
    *(("<|begin_of_thought|>", "<|end_of_thought|>"), ("<|START_THINKING|>", "<|END_THINKING|>")),
    *(("◁think▷", "◁/think▷"), ("<scratchpad>", "</scratchpad>"), ("<reflection>", "</reflection>")),
    *(("<think>", "</thinking>"), ("<reasoning>", "</think>"), ("<|begin_of_thought|>", "</think>")),
)
"""Tags that open and close thinking; the last ones do not match."""


@pytest.mark.parametrize(("opening", "closing"), SPELLINGS)
@pytest.mark.parametrize("mark", ["<answer>7</answer>", r"\boxed{7}", "#### 7", "The answer is 7."])
def test_thinking_hides_an_answer_in_every_spelling_of_its_tags(opening: str, closing: str, mark: str) -> None:
    hidden = (
        f"{opening}{mark}{closing}",
        f"{opening}{mark}",
        f"{mark}{closing}",
        f"{opening}a{opening}{mark}{closing}",
        f"{opening}{mark}{closing} I am done.",
        f"{opening}a{closing}{mark}{closing}",
        f"<think>a{opening}b{closing}{mark}</think>",
    )
    assert [text for text in hidden if extract_answer(text, ALL_SOURCES) not in (None, "I am done.")] == []
    assert extract_answer(rf"{opening}{mark}{closing} \boxed{{8}}", ALL_SOURCES) == "8"


@pytest.mark.parametrize("text", ["<thinker>7</thinker>", "<think/> 7", "<b>7</b>", "<reasonable> 7", "<|im_start|>7"])
def test_other_tags_hide_nothing(text: str) -> None:
    assert "7" in outside_thinking(text)


def prompted(prompt: str, text: str) -> Rollout:
    return rollout(text, prompt=prompt)


DECLARING = "Work inside <work> </work> tags and answer inside <answer> </answer> tags. User: 7 + 1? Assistant:"


def test_a_tag_that_the_prompt_declares_beside_the_answer_hides_too() -> None:
    assert read_answer(prompted(DECLARING, r"<work>\boxed{8}</work> done")) is None
    assert read_answer(prompted(DECLARING, r"<WORK>\boxed{7}</WORK><answer>8</answer>")) == "8"
    assert read_answer(prompted(DECLARING + " <work>", r"\boxed{7}</work><answer>8</answer>")) == "8"
    assert read_answer(prompted("7 + 1?", r"<work>\boxed{8}</work>")) == "8"
    assert read_answer(prompted("Is <b></b> empty?", r"<b>\boxed{8}</b>")) == "8"


@pytest.mark.parametrize("tag", ["<think>", "<thinking>", "<THINK>\n", "<reasoning>\n\n", "<|begin_of_thought|>"])
def test_text_after_a_tag_that_the_prompt_opened_is_thinking(tag: str) -> None:
    prompt = f"What is 7 + 1? Assistant: {tag}"
    assert read_answer(prompted(prompt, r"I guess \boxed{8}")) is None
    assert read_answer(prompted(prompt, r"I guess \boxed{7}</think>\boxed{8}")) == "8"


def test_an_answer_tag_that_the_prompt_opened_is_the_answers() -> None:
    assert read_answer(prompted("What is 7 + 1? <answer>", "8</answer>")) == "8"
    assert read_answer(prompted("What is 7 + 1? <|assistant|>", r"\boxed{8}")) == "8"


def test_what_is_shown_is_what_stands_outside_the_tags_of_the_prompt() -> None:
    assert shown_text(prompted(DECLARING, "<work>a</work>b")).strip() == "b"
    assert (thinking_tag(DECLARING), thinking_tag("x <thinking>"), thinking_tag("x")) == ("work", "thinking", "think")


def test_the_format_is_that_of_the_tags_in_the_prompt() -> None:
    good = prompted(DECLARING, "<work>a</work><answer>8</answer>")
    usual = prompted(DECLARING, "<think>a</think><answer>8</answer>")
    assert (r1_format(good).value, r1_format_graded(good).value, think_format(good).value) == (1, 1, 1)
    assert (r1_format(usual).value, r1_format_graded(usual).value, think_format(usual).value) == (0, 0.5, 0)
    assert r1_format(prompted("x <thinking>", "a</thinking><answer>8</answer>")).value == 1
    assert think_format(prompted("x", "<think>a</think><thinking>8</thinking>")).value == 0


# Every reward that looks for an answer


LOOKING = {
    name: reward
    for name, reward in ((name, resolve_name(path)) for name, path in reasonrl_rewards().items())
    if "sources" in inspect.signature(reward).parameters and name != "unit_tests"
}
SETTINGS: Mapping[str, dict[str, object]] = {"cosine_length": {"max_tokens": 100}, "regex_answer": {"pattern": "8"}}


def problem_for(name: str, text: str) -> Rollout:
    if name == "reasoning_gym":
        reasoning_gym = pytest.importorskip("reasonrl_tasks.reasoning_gym")
        pytest.importorskip("reasoning_gym")
        problem: Problem = reasoning_gym.reasoning_gym(split="train", seed=1, dataset="chain_sum", num_problems=1)[0]
        return replace(rollout(text), problem=problem)
    return rollout(text, "8", numbers=[7, 1], choices=["7", "8"])


@pytest.mark.parametrize("name", sorted(LOOKING))
def test_every_reward_that_looks_for_an_answer_takes_the_same_sources_and_says_whether_it_found_one(name: str) -> None:
    reward, settings = LOOKING[name], SETTINGS.get(name, {})
    assert typing.get_type_hints(reward)["sources"] == tuple[Source, ...]
    missed = reward(problem_for(name, "I do not know what 7 plus 1 may be"), sources=("answer_tag",), **settings)
    assert missed.parts == {"answered": 0.0}
    assert "no answer found (sources: answer_tag); it ends '" in missed.why
    assert reward(problem_for(name, "The answer is 8."), sources=("phrase",), **settings).parts == {"answered": 1.0}


# Any text


PIECES = st.sampled_from(
    [
        *("<think>", "</think>", "<THINKING a>", "</reasoning>"),
        *("<|begin_of_thought|>", "[/THINK]", "<answer>", "</answer>"),
        *(r"\boxed{", r"\boxed 5", r"\fbox{", "}", "{", "#### ", "$", "$$"),
        *(r"\(", r"\)", r"\[", "**", "`", '"', "(", ")"),
        *("The answer is ", "Answer: ", "So ", "Therefore, ", " is "),
        *(" are ", " or ", " and ", " not ", " wrong", "Wait, "),
        *("No, it is ", "That is wrong", "If ", " because "),
        *(" (since ", " (about ", ", which", " in total", "Option C"),
        *(".", "?", "!", ", ", "\n", " ", "5", "34"),
        *("-1.5", r"\frac12", "x = ", "=", "yes", "apples", "B", "é", "\u2028"),
    ]
)
TEXTS = st.one_of(st.text(max_size=300), st.lists(PIECES, max_size=40).map("".join))


@given(TEXTS)
def test_reading_never_raises_and_gives_no_empty_answer(text: str) -> None:
    for source in ALL_SOURCES:
        answer = extract_answer(text, (source,))
        assert answer is None or (answer.strip() and stated_value(answer).strip())
    stated_value(text)


@given(TEXTS)
def test_an_answer_after_thinking_is_found_whatever_was_thought(text: str) -> None:
    assert extract_answer(f"{text}</think>\nThe answer is \\boxed{{34}}.", MARKED_AND_PROSE) == "34"


@given(TEXTS, st.integers(0, 999))
def test_what_is_thought_after_a_tag_is_never_an_answer(text: str, number: int) -> None:
    assert extract_answer(f"<reasoning>{text}</reasoning>", ALL_SOURCES) is None or "</" in text or "[/" in text


@pytest.mark.parametrize(
    "piece",
    [
        *("The answer is 5. ", "The answer is not 5. ", "That is wrong. "),
        *("No, it is 6. ", r"\boxed{5} or ", r"\boxed{5}, "),
        *(r"\boxed{5} is wrong. ", r"\boxed{5} so ", r"\boxed 5 "),
        *("<answer>5</answer> or ", "(since ", "So 5 is ", "if "),
        *("<think ", "<|begin_of_", "Option C is ", "I choose "),
        *('"', "wrong answer ", " is 5", ", which is about 5", "no, "),
        *("actually ", "$5$ or ", "x is ", "5 (about 5) ", "Let me know. "),
        *("\n- ", "\n", "\n\n ", "* ", "no no ", "wait ", "...", "so so ", "**", "5 5 ", "not the "),
    ],
)
def test_the_time_of_reading_grows_no_faster_than_the_text(piece: str) -> None:
    def seconds(length: int) -> float:
        text, started = piece * (length // len(piece)), time.process_time()
        for framed in (
            text,
            rf"\boxed{{5}} {text}",
            f"The answer is 5. {text} The answer is 6.",
            f"{text} <answer>5</answer>",
        ):
            for source in ALL_SOURCES:
                extract_answer(framed, (source,))
        stated_value(text)
        return time.process_time() - started

    assert seconds(20_000) < 4
