"""Rewards for answers that are letters, patterns and JSON."""

import json
import time
from pathlib import Path

import pytest
from reward_cases import rollout

from reasonrl import ConfigError
from reasonrl_rewards.choice import multiple_choice
from reasonrl_rewards.pattern import regex_answer
from reasonrl_rewards.structured import json_answer

CHOICES = ["3 cm", "5 cm", "Both A and B", "the cat"]

# multiple_choice


@pytest.mark.parametrize(
    "given",
    [
        "B",
        "b",
        "(B)",
        "[B]",
        "B.",
        "B)",
        "(B).",
        " B: ",
        "**B**",
        "$B$",
        r"\text{B}",
        r"\textbf{(B)}",
        r"\mathrm{B}",
        "option B",
        "Option (B)",
        "B) 5 cm",
        "B. 5 cm",
        "(B) 5 cm.",
        "B - 5 cm",
        r"\text{(B)} 5 cm",
        r"\boxed{B}",
    ],
)
def test_a_letter_may_be_written_in_many_ways(given: str) -> None:
    assert multiple_choice(rollout(f"<answer>{given}</answer>", "B")).value == 1
    assert multiple_choice(rollout(f"<answer>{given}</answer>", "(B)", choices=CHOICES)).value == 1
    assert multiple_choice(rollout(f"<answer>{given}</answer>", "C")).value == 0


@pytest.mark.parametrize("text", [r"so \boxed{B}", "The correct answer is (B).", "**Answer: B**", "I think so.\n\n(B)"])
def test_a_letter_may_be_spoken(text: str) -> None:
    assert multiple_choice(rollout(text, "B")).value == 1


@pytest.mark.parametrize(
    "given",
    [
        "",
        "A or B",
        "A, B",
        "B and C",
        "AB",
        "B) or C)",
        "(B) (C)",
        "(B) or maybe (C)",
        "B) 5 cm, C) 7 cm",
        "B/C",
        "not B",
        "B?",
        "B because of this",
        "all of them",
        "A B C D",
        "Beta",
        "\N{CYRILLIC CAPITAL LETTER VE}",
        "\N{GREEK CAPITAL LETTER BETA}",
        "(" * 1_000 + "B",
    ],
)
def test_a_hedge_names_no_choice(given: str) -> None:
    assert multiple_choice(rollout(f"<answer>{given}</answer>", "B")).value == 0


def test_the_text_of_a_choice_is_as_good_as_its_letter() -> None:
    for wanted in ("B", "5 cm"):
        assert multiple_choice(rollout("<answer>5 cm</answer>", wanted, choices=CHOICES)).value == 1
    assert multiple_choice(rollout("<answer>Cat</answer>", "D", choices=CHOICES)).value == 1
    assert multiple_choice(rollout("<answer>C) Both A and B</answer>", "C", choices=CHOICES)).value == 1
    assert multiple_choice(rollout("<answer>both A and B</answer>", "B", choices=CHOICES)).value == 0
    assert multiple_choice(rollout("<answer>5 cm</answer>", "Y", choices={"X": "3 cm", "y": "5 cm"})).value == 1


def test_a_letter_with_the_text_of_another_choice_is_wrong() -> None:
    assert multiple_choice(rollout("<answer>B) 3 cm</answer>", "B", choices=CHOICES)).value == 0
    assert multiple_choice(rollout("<answer>B) 5 cm or 3 cm</answer>", "B", choices=CHOICES)).value == 0


def test_a_question_whose_answer_is_no_choice_cannot_be_scored() -> None:
    assert multiple_choice(rollout("<answer>B</answer>", "seven")).outcome == "unscorable"
    assert multiple_choice(rollout("<answer>B</answer>", "F", choices=CHOICES)).outcome == "unscorable"


# regex_answer


def test_the_whole_answer_must_match() -> None:
    pattern = r"[A-Z]{3}-\d{2}"
    assert regex_answer(rollout("<answer>ABC-12</answer>"), pattern=pattern).value == 1
    assert regex_answer(rollout("<answer>abc-12</answer>"), pattern=pattern, ignore_case=True).value == 1
    for wrong in ("<answer>ABC-123</answer>", "<answer>xABC-12</answer>", "<answer>ABC-12\nABC</answer>", "ABC-12", ""):
        assert regex_answer(rollout(wrong), pattern=pattern).value == 0
    assert regex_answer(rollout("ABC-12"), pattern=pattern, sources=("whole",)).value == 1


def test_a_problem_may_bring_its_pattern() -> None:
    assert regex_answer(rollout("<answer>8</answer>", pattern="8|eight")).value == 1
    assert regex_answer(rollout("<answer>8</answer>", pattern="eight")).value == 0
    assert regex_answer(rollout("<answer>8</answer>")).outcome == "unscorable"
    assert regex_answer(rollout("<answer>8</answer>", pattern="(")).outcome == "unscorable"


def test_a_pattern_of_the_run_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="is not a regular expression"):
        regex_answer(rollout("<answer>8</answer>"), pattern="(8")


def test_a_pattern_that_backtracks_without_end_is_a_timeout() -> None:
    started = time.monotonic()
    score = regex_answer(rollout("<answer>" + "a" * 60 + "!</answer>"), pattern=r"(\w|\w\w)*\d!", limit_s=0.2)
    assert score.outcome == "timeout"
    assert time.monotonic() - started < 20


# json_answer

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "Ada"}',
        '<answer> {"age": 36, "name": "Ada"} </answer>',
        '```json\n{"name": "Ada"}\n```',
        '{"name": "é\\u00e9"}',
    ],
)
def test_json_that_fits_its_schema_scores_1(text: str) -> None:
    assert json_answer(rollout(text), schema=PERSON).value == 1
    assert json_answer(rollout(text, schema=PERSON)).value == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no answer found"),
        ("Here it is: {}", "not JSON"),
        ("{'name': 'Ada'}", "not JSON"),
        ('{"name": "Ada",}', "not JSON"),
        ('{"name": "Ada"} {"name": "Bob"}', "not JSON"),
        ('{"name": "Ada", "name": "Bob"}', "a key is repeated"),
        ('{"name": "Ada", "age": NaN}', "NaN is not a JSON value"),
        ('{"name": "Ada", "age": -Infinity}', "Infinity"),
        ('{"name": "Ada", "age": 1e999}', "too great"),
        ('{"age": 3}', "'name' is a required property"),
        ('{"name": "Ada", "age": true}', "not of type 'integer'"),
        ('{"name": "Ada", "x": 1}', "Additional properties"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ("9" * 100_000, "not JSON"),
    ],
    ids=lambda text: text[:30],
)
def test_anything_else_says_what_is_wrong_with_it(text: str, why: str) -> None:
    score = json_answer(rollout(text), schema=PERSON)
    assert score.value == 0
    assert why in score.why


def test_a_value_may_have_to_be_the_answer() -> None:
    wanted = json.dumps({"a": [1, 2.0], "b": True})
    assert json_answer(rollout('{"b": true, "a": [1.0, 2]}', wanted), compare=True).value == 1
    for wrong in (
        '{"a": [1, 2], "b": 1}',
        '{"a": [2, 1], "b": true}',
        '{"a": [1, 2]}',
        "null",
        '{"a": [1, 2, 3], "b": true}',
    ):
        assert json_answer(rollout(wrong, wanted), compare=True).value == 0
    assert json_answer(rollout("1", "not JSON"), compare=True).outcome == "unscorable"


@pytest.mark.parametrize(
    "schema", [{"type": "persn"}, {"$ref": "https://example.com/schema.json"}, {"$ref": "#/$defs/x"}]
)
def test_a_schema_that_is_none_is_refused_and_nothing_is_fetched(schema: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="reward 'json_answer': schema:"):
        json_answer(rollout("{}"), schema=schema)
    assert json_answer(rollout("{}", schema=schema)).outcome == "unscorable"
    assert json_answer(rollout("{}", schema="object")).outcome == "unscorable"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # jsonschema warns of what it would fetch, then fetches it
def test_a_schema_reads_no_other_file(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text("{}")
    with pytest.raises(ConfigError, match="which is not in it"):
        json_answer(rollout("{}"), schema={"$ref": other.as_uri()})


def test_a_schema_that_refers_to_itself_ends() -> None:
    schema = {"type": "array", "items": {"$ref": "#"}}
    assert json_answer(rollout("[[], [[]]]"), schema=schema).value == 1
    assert json_answer(rollout("[" * 900 + "]" * 900), schema=schema).value == 0
