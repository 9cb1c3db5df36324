"""Preference data from samples: which pairs are made, and that every completion and every pair is accounted for."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from builders import problem
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from reasonrl.commands import app
from reasonrl.config.reward_model import SampledPairs
from reasonrl.errors import ConfigError, DataError
from reasonrl.plugins.lookup import Plugins
from reasonrl.preference.data import LabeledCompletion, Pair
from reasonrl.preference.pairs import LabeledSample, PairSettings, label_row, make_labels, make_pairs
from reasonrl.preference.samples import read_sample_rows
from reasonrl.preference.schema import examples_of
from reasonrl.run.pairs import sampled_pairs


def samples(labels: Mapping[str, Sequence[tuple[str, float | None]]]) -> list[LabeledSample]:
    """Completions with labels, by problem."""
    return [
        LabeledSample(problem=problem(name), completion=text, label=label)
        for name, members in labels.items()
        for text, label in members
    ]


LABELED = st.dictionaries(
    st.sampled_from(["p", "q", "r", "s"]),
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "c", "", "dd"]), st.sampled_from([None, 0.0, 0.25, 1.0])), max_size=8
    ),
    min_size=1,
)
SETTINGS = st.builds(
    PairSettings,
    pairing=st.just("all"),
    min_gap=st.sampled_from([0.0, 0.5]),
    pairs_per_prompt=st.sampled_from([None, 1, 3]),
    flip=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 3),
)


@given(LABELED, st.one_of(SETTINGS, st.just(PairSettings()), st.just(PairSettings(min_gap=0.5, flip=0.9))))
def test_every_completion_and_every_candidate_is_counted_once(labels: dict[str, Any], settings: PairSettings) -> None:
    given_ = samples(labels)
    made = make_pairs(given_, settings)
    counts = made.counts
    assert counts.completions == len(given_)
    usable = counts.completions - counts.unlabeled - counts.repeated
    texts = {(one.problem.id, one.completion) for one in given_ if one.label is not None}
    assert usable == len(texts)
    assert counts.candidates == counts.pairs + counts.ties + counts.small_gaps + counts.not_drawn
    assert counts.pairs == len(made.pairs)
    assert counts.flipped == sum(pair.flipped for pair in made.pairs)
    assert counts.prompts_with_pairs == len({pair.problem.id for pair in made.pairs})
    assert len({pair.id for pair in made.pairs}) == len(made.pairs)
    if settings.pairing == "all":
        sizes = [sum(name == one for one, _ in texts) for name in labels]
        assert counts.candidates == sum(size * (size - 1) // 2 for size in sizes)


@given(LABELED, SETTINGS)
def test_a_pair_has_two_texts_of_its_prompt_with_a_gap_and_the_better_one_is_chosen_unless_flipped(
    labels: dict[str, Any], settings: PairSettings
) -> None:
    first: dict[tuple[str, str], float] = {}
    for one in samples(labels):
        if one.label is not None:
            first.setdefault((one.problem.id, one.completion), one.label)
    for pair in make_pairs(samples(labels), settings).pairs:
        assert pair.chosen != pair.rejected
        better, worse = (first[pair.problem.id, text] for text in (pair.chosen, pair.rejected))
        assert pair.gap == abs(better - worse) >= max(settings.min_gap, 0.1)
        assert pair.flipped == (better < worse)


@given(LABELED, SETTINGS)
def test_what_is_drawn_for_a_problem_depends_on_no_other_problem(
    labels: dict[str, Any], settings: PairSettings
) -> None:
    together = make_pairs(samples(labels), settings).pairs
    apart = [pair for name in labels for pair in make_pairs(samples({name: labels[name]}), settings).pairs]
    assert sorted(pair.id for pair in together) == sorted(pair.id for pair in apart)
    assert {(p.id, p.chosen, p.rejected) for p in together} == {(p.id, p.chosen, p.rejected) for p in apart}


def test_best_and_worst_make_one_pair_of_a_prompt() -> None:
    made = make_pairs(samples({"p": [("a", 0.2), ("b", 1.0), ("c", -3.0)], "q": [("a", 1.0)], "r": []}), PairSettings())
    (pair,) = made.pairs
    assert (pair.chosen, pair.rejected, pair.gap, pair.tags) == ("b", "c", 4.0, ("test",))
    assert (made.counts.prompts, made.counts.prompts_with_pairs) == (2, 1)


def test_equally_good_completions_are_drawn_from_and_none_is_preferred_by_its_place() -> None:
    chosen = [
        make_pairs(samples({"p": [("a", 1.0), ("b", 1.0), ("c", 0.0)]}), PairSettings(seed=seed)).pairs[0].chosen
        for seed in range(40)
    ]
    assert 10 < chosen.count("a") < 30


def test_a_share_of_the_labels_is_turned_round() -> None:
    many = samples({f"p{n}": [("a", 1.0), ("b", 0.0)] for n in range(2000)})
    made = make_pairs(many, PairSettings(flip=0.25))
    assert made.counts.flipped / 2000 == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / 2000))
    assert {pair.tags for pair in made.pairs} == {("test",), ("test", "flipped")}
    assert make_pairs(many, PairSettings(flip=0.25)).pairs == made.pairs
    assert make_pairs(many, PairSettings(flip=0.25, seed=1)).pairs != made.pairs


def test_lengths_are_those_of_what_was_chosen() -> None:
    made = make_pairs(
        samples({"p": [("long", 1.0), ("a", 0.0)], "q": [("b", 1.0), ("c", 0.0)], "r": [("d", 1.0), ("e" * 9, 0.0)]}),
        PairSettings(),
    )
    lengths = made.lengths()
    assert (lengths.chosen_longer, lengths.equally_long) == (1, 1)
    assert lengths.mean_difference == pytest.approx((3 + 0 - 8) / 3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"flip": 1.0}, "flip is 1"),
        ({"min_gap": -1.0}, "min-gap is -1"),
        ({"pairs_per_prompt": 2}, "best-worst makes one pair a prompt"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        PairSettings(**changes)


def test_a_row_has_the_question_itself_and_is_read_back_as_the_same_pair() -> None:
    talk = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1?"})
    for asked in (problem("1 + 1?"), problem("1 + 1?", messages=talk)):
        both = [LabeledSample(problem=asked, completion=text, label=label) for text, label in (("2", 1.0), ("3", 0.0))]
        (made,) = make_pairs(both, PairSettings()).pairs
        (read,) = examples_of("here", json.loads(json.dumps(made.row(with_margin=True))), "bradley_terry")
        assert isinstance(read, Pair)
        assert (read.chosen, read.rejected, read.margin, read.tags) == ("2", "3", 1.0, ("test",))
        assert (read.problem.prompt, read.problem.messages) == ("1 + 1?", asked.messages)
        assert "margin" not in made.row()


def test_labels_of_an_outcome_model_go_from_0_to_1() -> None:
    graded = samples({"p": [("a", 0.25), ("a", 1.0), ("b", None), ("c", 1.0)]})
    made = make_labels(graded)
    assert [(row.completion, row.label) for row in made.rows] == [("a", 0.25), ("c", 1.0)]
    assert (made.completions, made.unlabeled, made.repeated) == (4, 1, 1)
    assert [row.label for row in make_labels(graded, threshold=0.5).rows] == [0.0, 1.0]
    turned = make_labels(samples({f"p{n}": [("a", 1.0)] for n in range(400)}), flip=0.25)
    assert turned.flipped == sum(row.label == 0.0 for row in turned.rows)
    assert 60 < turned.flipped < 140
    (read,) = examples_of("here", label_row(made.rows[0]), "outcome")
    assert isinstance(read, LabeledCompletion)
    assert (read.completion, read.label) == ("a", 0.25)
    with pytest.raises(DataError, match="a label is 2, but an outcome is from 0 to 1"):
        make_labels(samples({"p": [("a", 2.0)]}))
    with pytest.raises(DataError, match="only 0 and 1 can be turned round"):
        make_labels(graded, flip=0.1)


# The command


GOLD = '''
def short(text, answer, problem):
    """Better the shorter; it cannot judge an empty answer."""
    assert problem.answer == answer
    return None if not text else -float(len(text))

def broken(text):
    raise ValueError("no gold today")
'''
ROWS = [
    {"problem_id": "p", "prompt": "1 + 1?", "completion": text, "score": score, "rewards": {"exact": exact}}
    for text, score, exact in [
        ("2", 1.0, {"value": 1.0, "outcome": "scored"}),
        ("it is two", 0.5, {"value": 0.0, "outcome": "scored"}),
        ("2", 1.0, {"value": 1.0, "outcome": "scored"}),
        ("", None, {"value": None, "outcome": "unscorable"}),
    ]
] + [{"prompt": "2 + 2?", "answer": "4", "completion": text, "score": 0.0} for text in ("4", "four!")]


def run(*words: str) -> tuple[int, str]:
    """Run ``reasonrl rm pairs`` and return its exit code and what it said."""
    result = CliRunner().invoke(app, ["rm", "pairs", *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return 2, str(result.exception)
    return result.exit_code, result.output


@pytest.fixture
def files(in_folder: Path) -> Path:
    """A file of samples that was not made here, and a gold function."""
    Path("gold.py").write_text(GOLD)
    Path("samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return in_folder


def made() -> list[dict[str, Any]]:
    """The rows that were written. Any: JSON values."""
    return [json.loads(line) for line in Path("pairs.jsonl").read_text().splitlines()]


def test_pairs_are_made_of_scores_of_rewards_and_of_a_gold_function(files: Path) -> None:
    code, said = run("samples.jsonl", "--out", "pairs.jsonl", "--margin")
    assert code == 0, said
    assert "6 completions of 2 prompts: 1 without a label, 1 repeat another one's text" in said
    assert "2 candidates: 1 pairs, 1 ties (50.0%)" in said
    assert [(row["chosen"], row["rejected"], row["margin"]) for row in made()] == [("2", "it is two", 0.5)]

    code, said = run("samples.jsonl", "--out", "pairs.jsonl", "--gold", "./gold.py:short", "--overwrite")
    assert code == 0, said
    assert "labeled by reward './gold.py:short'" in said
    assert [(row["prompt"], row["chosen"]) for row in made()] == [("1 + 1?", "2"), ("2 + 2?", "4")]
    assert "1 without a label" in said

    code, said = run("samples.jsonl", "--out", "o.jsonl", "--form", "outcome", "--threshold", "0.75")
    assert code == 0, said
    rows = [json.loads(line) for line in Path("o.jsonl").read_text().splitlines()]
    assert [row["label"] for row in rows] == [1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--label", "exakt"], r"row 1 of the samples has no such reward. Did you mean 'exact'"),
        (["--gold", "./gold.py:broken"], "failed on 6 of 6 samples"),
        (["--gold", "numeric_anser"], "Did you mean 'numeric_answer'"),
        (["--param", "a=1"], "--param has no effect without --gold"),
        (["--gold", "./gold.py:short", "--label", "score"], "--label has no effect with --gold"),
        (["--form", "outcome", "--margin"], "--margin has no effect with --form outcome"),
        (["--threshold", "1"], "--threshold has no effect with --form pairs"),
        (["--flip", "1.5"], "flip is 1.5"),
        (["--min-gap", "3"], "nothing can be made of it(.|\n)*1 below the smallest gap"),
    ],
)
def test_a_mistake_of_the_command_is_named_and_writes_nothing(files: Path, words: list[str], said: str) -> None:
    code, output = run("samples.jsonl", "--out", "pairs.jsonl", *words)
    assert code != 0
    assert not Path("pairs.jsonl").exists()
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(output)


def test_a_file_that_is_there_is_not_replaced_and_what_is_no_sample_is_named(files: Path) -> None:
    Path("pairs.jsonl").write_text("mine")
    assert "exists already" in run("samples.jsonl", "--out", "pairs.jsonl")[1]
    Path("bad.jsonl").write_text('{"prompt": "1 + 1?"}\n')
    assert "bad.jsonl:1: completion: Field required" in run("bad.jsonl", "--out", "x.jsonl")[1]
    Path("bad.jsonl").write_text('{"completion": "2"}\n')
    assert "has neither 'prompt' nor 'messages'" in run("bad.jsonl", "--out", "x.jsonl")[1]
    Path("empty.jsonl").write_text("")
    assert "holds no samples" in run("empty.jsonl", "--out", "x.jsonl")[1]


def test_the_gold_reward_of_samples_that_were_made_here_sees_whole_problems(in_folder: Path) -> None:
    Path("gold.py").write_text(
        "def operands(text, meta, answer):\n    return float(meta['num_operands'] == 2 and answer in text)\n"
    )
    sampled = CliRunner().invoke(app, ["sample", "run.yaml", "--out", "s.jsonl"]) if write_run() else None
    assert sampled is not None
    assert sampled.exit_code == 0, sampled.output
    code, said = run("s.jsonl", "--out", "pairs.jsonl", "--gold", "./gold.py:operands", "--pairing", "all")
    assert code == 0, said
    answers = {row.prompt: row.answer for row in read_sample_rows(Path("s.jsonl"))}
    assert all(answers[row["prompt"]] in row["chosen"] for row in made())
    settings = Path("s.jsonl.settings.json")
    settings.write_text(settings.read_text().replace('"max_terms": 2', '"max_terms": 3'))
    code, said = run("s.jsonl", "--out", "x.jsonl", "--gold", "./gold.py:operands")
    assert "is not what task 'arithmetic' has now" in said


def write_run() -> bool:
    """Write a run file whose policy is right now and then."""
    Path("run.yaml").write_text(
        "name: one\nmodel: tiny\n"
        "task: {name: arithmetic, params: {num_problems: 40, min_terms: 2, max_terms: 2, max_value: 9}}\n"
        "template: plain\nrewards: [{name: numeric_answer, isolated: false}]\n"
        "rollout: {prompts_per_step: 16, samples_per_prompt: 6, max_new_tokens: 24}\nrun: {steps: 1}\n"
    )
    return True


def test_pairs_are_sampled_from_a_policy_in_one_go(in_folder: Path) -> None:
    settings = SampledPairs.model_validate(
        {
            "model": "tiny",
            "task": {"name": "arithmetic", "params": {"num_problems": 60, "min_terms": 2, "max_terms": 2}},
            "template": "plain",
            "gold": {"name": "numeric_answer", "isolated": False},
            "num_problems": 30,
            "samples_per_prompt": 6,
            "pairs_per_prompt": 2,
            "max_new_tokens": 24,
            "flip": 0.25,
        }
    )
    told: list[tuple[int, int]] = []
    found = sampled_pairs(settings, Plugins(), seed=3, tell=lambda *progress: told.append(progress))
    assert told[-1] == (30, 30)
    assert "180 completions of 30 prompts" in found.summary
    read = [pair for row in found.rows for pair in examples_of("-", row, "bradley_terry")]
    assert 0 < len(read) <= 60
    assert len({pair.problem.id for pair in read}) >= len(read) / 2
    assert sampled_pairs(settings, Plugins(), seed=3) == found
    outcome = sampled_pairs(settings, Plugins(), seed=3, form="outcome")
    labels = {row["label"] for row in outcome.rows for _ in examples_of("-", row, "outcome")}
    assert labels == {0.0, 1.0}


def test_a_setting_of_the_gold_reward_that_cannot_be_is_named() -> None:
    settings = SampledPairs.model_validate(
        {"model": "tiny", "task": "arithmetic", "gold": {"name": "numeric_answer", "gate": "format"}}
    )
    with pytest.raises(ConfigError, match=r"data.sampled: rewards.0.gate: no other reward 'format'"):
        sampled_pairs(settings, Plugins())
    many = settings.model_copy(update={"num_problems": 10**6, "gold": settings.gold.model_copy(update={"gate": None})})
    with pytest.raises(ConfigError, match="num_problems is 1000000, but task 'arithmetic' has"):
        sampled_pairs(many, Plugins())
