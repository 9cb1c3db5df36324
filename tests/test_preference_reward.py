"""The reward `preference`: what reward models in the run's own process give, and when they are refused."""

import gc
import json
import random
import subprocess
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import pytest
import torch
import yaml
from builders import run_config, untimed
from hypothesis import given
from hypothesis import strategies as st
from reward_models import QUESTION, SCALES, TEXTS, evaluation, model_folder, scores, scoring, step, values

from reasonrl.config.settings import RewardRef
from reasonrl.errors import ConfigError, ModelError, PluginError, ReasonRLError
from reasonrl.plugins.lookup import Plugins, installed_plugins
from reasonrl.preference import reward as preference
from reasonrl.preference.aggregate import Aggregation
from reasonrl.preference.card import HeadScale, read_card, write_card
from reasonrl.preference.model import RewardModel
from reasonrl.preference.use import describe
from reasonrl.run.inputs import load_inputs
from reasonrl.run.start import start_run
from reasonrl.scoring.contract import load_reward

CPU = torch.device("cpu")
LONG = " because" * 300


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with one head."""
    return model_folder(tmp_path_factory.mktemp("one") / "model")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with another head."""
    return model_folder(tmp_path_factory.mktemp("other") / "model", heads=(1,))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with both heads."""
    return model_folder(tmp_path_factory.mktemp("two") / "model", heads=(0, 1))


def raw(folder: Path, question: str = QUESTION, texts: Sequence[str] = TEXTS) -> list[tuple[float, ...]]:
    """What the model itself gives, one text at a time."""
    model, asked = RewardModel.load(folder, CPU), step(question, texts=texts)[0].problem
    found = [model.scores([(asked, text)])[0] for text in texts]
    return [one for one in found if one is not None]


def test_a_completion_is_worth_its_distance_from_the_mean_in_frozen_standard_deviations(one: Path) -> None:
    expected = [(value - 1.0) / 2.0 for (value,) in raw(one)]
    found = scores("preference", step(), model=str(one))
    assert values(found) == pytest.approx(expected, abs=1e-5)
    assert [score.parts["raw"] for score in found] == pytest.approx([value for (value,) in raw(one)], abs=1e-5)
    assert found[0].why == "raw 2.99 (+1.00 sd); above the 99.9th percentile of training"


def test_scores_of_a_step_are_those_of_each_completion_alone(one: Path) -> None:
    questions = ("1 + 1?", "What is the sum of 12, 3 and 4?", "9")
    found = scores("preference", step(*questions), model=str(one), standardize=False, clip=None)
    expected = [value for question in questions for (value,) in raw(one, question)]
    assert values(found) == pytest.approx(expected, abs=1e-4)


def test_the_order_of_a_step_changes_no_bit(two: Path) -> None:
    groups = step("1 + 1?", "What is 7?", "9")
    with scoring("preference", model=str(two)) as scorer:
        there = scorer.score(groups, 1)
        back = scorer.score(groups[::-1], 2)[::-1]
    assert [[one.rewards["preference"].parts for one in results] for results in there] == [
        [one.rewards["preference"].parts for one in results] for results in back
    ]


def test_models_and_heads_make_the_same_ensemble(one: Path, other: Path, two: Path) -> None:
    heads = scores("preference", step(), model=str(two), aggregate="min")
    models = scores("preference", step(), models=[str(one), str(other)], aggregate="min")
    assert values(heads) == pytest.approx(values(models), abs=1e-3)
    assert heads[0].parts.keys() == {"raw_1", "raw_2", "std", "out_of_range", "clipped"}


@pytest.mark.parametrize(
    ("settings", "value"),
    [
        ({}, 2.0),  # members are 1 and 3 standard deviations above their means
        ({"aggregate": "min"}, 1.0),
        ({"aggregate": "mean_minus_std"}, 1.0),
        ({"aggregate": "mean_minus_std", "std_coefficient": 0.5}, 1.5),
        ({"clip": 2.0}, 1.5),
        ({"standardize": False, "clip": None}, 2.5),  # the raw scores are 3 and 2
        ({"standardize": False, "clip": 2.0}, 2.0),  # the second is held at -1 + 2 * 1
        ({"standardize": False, "clip": 2.0, "aggregate": "min"}, 1.0),
    ],
)
def test_members_are_standardized_then_clipped_then_aggregated(settings: dict[str, Any], value: float) -> None:
    score = Aggregation(scales=SCALES, **settings).score((3.0, 2.0))
    assert score.value == pytest.approx(value)


def test_parts_tell_disagreement_range_and_clipping() -> None:
    score = Aggregation(scales=SCALES, clip=2.0).score((3.0, 2.0))
    assert score.parts == {"raw_1": 3.0, "raw_2": 2.0, "std": 0.5, "out_of_range": 0.5, "clipped": 0.5}
    alone = Aggregation(scales=SCALES[:1]).score((12.0,))
    assert (alone.value, alone.parts) == (5.0, {"raw": 12.0, "out_of_range": 1.0, "clipped": 1.0})


@given(
    raws=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=5),
    mean=st.floats(-100, 100),
    std=st.floats(0.01, 100),
    coefficient=st.floats(0, 3),
)
def test_aggregates_are_between_the_clipped_members(
    raws: list[float], mean: float, std: float, coefficient: float
) -> None:
    scales = (HeadScale(mean=mean, std=std, p999=0.0),) * len(raws)
    clipped = [min(max((one - mean) / std, -5.0), 5.0) for one in raws]

    def value(**settings: Any) -> float:
        found = Aggregation(scales=scales, **settings).score(raws).value
        assert found is not None
        return found

    assert value() == pytest.approx(fmean(clipped))
    assert value(aggregate="min") == pytest.approx(min(clipped))
    lower = value(aggregate="mean_minus_std", std_coefficient=coefficient)
    assert lower == pytest.approx(fmean(clipped) - coefficient * pstdev(clipped))


def test_a_score_that_is_no_number_is_an_error_and_not_0() -> None:
    score = Aggregation(scales=SCALES).score((3.0, float("nan")))
    assert (score.value, score.outcome) == (None, "error")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"aggregate": "min"}, "aggregate is min, but there is one member"),
        ({"std_coefficient": 1.0}, "std_coefficient is 1, but aggregate is mean"),
    ],
)
def test_settings_that_would_be_ignored_are_refused(one: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        scores("preference", step(), model=str(one), **settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "give model: FOLDER, or models"),
        ({"model": "a", "models": ["b"]}, "give model: FOLDER, or models"),
        ({"model": "nowhere"}, "nowhere is not a reward model: there is no such folder"),
        ({"model": "a", "clip": 0}, "parameter 'clip'"),
        ({"model": "a", "microbatch_tokens": 0}, "parameter 'microbatch_tokens'"),
        ({"model": "a", "agregate": "min"}, "Did you mean 'aggregate'"),
    ],
)
def test_mistakes_are_named(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ReasonRLError, match=said):
        scores("preference", step(), **settings)


def test_a_device_that_is_not_here_is_refused_by_its_setting(one: Path) -> None:
    with pytest.raises(ConfigError, match="reward 'preference': device: 'cuda:7' is not here"):
        scores("preference", step(), model=str(one), device="cuda:7")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, "was never evaluated on held-out prompts"),
        (
            evaluation(0.55, 0.62),
            r"no better than length alone: on 400 held-out pairs of 80 prompts its accuracy is 55\.0%, that of "
            r"\"prefer the longer\" 62\.0%",
        ),
        (evaluation(0.6, 0.6), "no better than length alone"),
    ],
)
def test_a_model_that_is_not_known_to_beat_length_alone_is_refused_unless_forced(
    one: Path, tmp_path: Path, found: Any, said: str
) -> None:
    card = read_card(one).model_copy(update={"evaluation": found})
    for file in one.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "reward_model.json").unlink()
    write_card(tmp_path, card)
    with pytest.raises(ModelError, match=said):
        scores("preference", step(), model=str(tmp_path))
    with scoring("preference", model=str(tmp_path), force=True) as scorer:
        expected = "never evaluated" if found is None else f"length alone {found.length_only.value:.1%}"
        assert expected in scorer.notes["preference"]
        assert all(result.total.value is not None for result in scorer.score(step(), 1)[0])


def test_a_refused_model_is_not_loaded(one: Path) -> None:
    """The refusal needs no torch, so it comes at once."""
    program = (
        "import sys\nfrom reasonrl.preference.reward import preference\n"
        f"opened = preference.opening({str(one)!r}, (), 'min', None, 5.0, True, 'auto', 'auto', False, 'auto')\n"
        "try:\n    opened.__enter__()\nexcept Exception as error:\n    print(type(error).__name__)\n"
        "print('torch' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["ConfigError", "False"]


def test_a_completion_that_is_too_long_is_unscorable(one: Path) -> None:
    found = scores("preference", step(texts=(TEXTS[0], LONG)), model=str(one))
    assert [score.outcome for score in found] == ["scored", "unscorable"]
    assert found[1].why == "prompt and completion are more than the 256 tokens of the reward model"


def test_half_a_surrogate_pair_costs_only_its_own_completion(one: Path) -> None:
    found = scores("preference", step(texts=("\ud800", *TEXTS)), model=str(one))
    assert [score.outcome for score in found] == ["unscorable", *["scored"] * len(TEXTS)]
    assert values(found)[1:] == values(scores("preference", step(), model=str(one)))


def test_a_run_gets_a_line_with_the_models_accuracy_beside_that_of_length(one: Path) -> None:
    with scoring("preference", model=str(one)) as scorer:
        said = "bradley-terry; held-out accuracy 80.0% [75.0%, 85.0%], length alone 60.0% [55.0%, 65.0%]"
        assert scorer.notes["preference"] == f"{one} ({said})"


def test_random_generators_are_left_as_they_are(one: Path) -> None:
    with scoring("preference", model=str(one)) as scorer:
        torch.manual_seed(1)
        random.seed(1)
        before = torch.get_rng_state(), random.getstate()
        scorer.score(step(), 1)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert random.getstate() == before[1]


def test_a_model_is_loaded_once_for_all_rewards_and_dropped_after_the_last(one: Path) -> None:
    with scoring("preference", model=str(one)):
        with scoring("preference", model=str(one), clip=1.0) as scorer:
            assert len(preference._loaded) == 1
            held = weakref.ref(preference._models(preference._Place((str(one),), "auto", "auto"))[0].model)
            scorer.score(step(), 1)
        assert held() is not None, "the other reward still uses it"
    gc.collect()
    assert held() is None
    assert not preference._loaded


def test_it_runs_in_this_process_whatever_is_not_said(one: Path) -> None:
    def reward(**settings: Any) -> Any:
        return load_reward(RewardRef(name="preference", params={"model": str(one)}, **settings), installed_plugins())

    assert reward().in_process
    assert reward(isolated=False).in_process
    for settings, said in (
        ({"isolated": True}, "isolated is true, but this reward needs the run's own process"),
        ({"timeout_s": 3}, "timeout_s is 3.0, but this reward is called in the run's own process"),
        ({"timeout_value": 0}, "timeout_value is 0.0, but this reward is called in the run's own process"),
        ({"concurrency": 2}, "concurrency is 2, but it is for async rewards"),
    ):
        with pytest.raises(PluginError, match=said):
            reward(**settings)


def test_settings_of_workers_are_refused_where_no_reward_runs_in_one(one: Path) -> None:
    mine = {"name": "preference", "params": {"model": str(one)}}
    with pytest.raises(ConfigError, match=r"scoring\.workers is set, but every reward runs in the run's own process"):
        load_inputs(run_config(rewards=[mine], scoring={"workers": 2}), Plugins())
    load_inputs(run_config(rewards=[mine, "numeric_answer"], scoring={"workers": 2}), Plugins())


# Runs.

RUN: dict[str, Any] = {  # Any: settings
    "name": "one",
    "model": "tiny",
    "task": {"name": "arithmetic", "params": {"num_problems": 60, "min_terms": 3, "max_terms": 3}},
    "template": "plain",
    "rollout": {"prompts_per_step": 2, "samples_per_prompt": 4, "max_new_tokens": 12},
    "learner": {"learning_rate": 3e-4},
    "run": {"steps": 2},
}


def trained(folder: Path, *overrides: str, **changes: Any) -> list[dict[str, Any]]:
    """The lines of metrics of a run. Any: settings, and JSON values."""
    (folder / "run.yaml").write_text(yaml.safe_dump({**RUN, **changes}))
    start_run(folder / "run.yaml", overrides, [], argv=["test"])
    lines = (folder / "runs/one/metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_verifier_and_a_reward_model_share_a_run(in_folder: Path, two: Path) -> None:
    rewards = [
        "numeric_answer",
        {"name": "preference", "weight": 0.1, "params": {"model": str(two)}},
        {"name": "preference", "label": "gated", "gate": "numeric_answer", "params": {"model": str(two), "clip": 1}},
    ]
    first, *_, last = trained(in_folder, rewards=rewards)
    shares = [last[f"variance/{name}"] for name in ("numeric_answer", "preference", "gated")]
    assert sum(shares) == pytest.approx(1.0)
    assert -5 <= last["reward/preference"] <= 5
    assert last["weight/preference"] == 0.1
    for part in ("raw_1", "raw_2", "std", "out_of_range", "clipped"):
        assert f"reward/preference/{part}" in first
    manifest = json.loads((in_folder / "runs/one/manifest.json").read_text())
    assert "held-out accuracy 80.0%" in manifest["environment"]["preference"]


def test_a_reward_model_can_be_all_of_the_reward_with_the_divergence_off_it(in_folder: Path, one: Path) -> None:
    """What changes from reasoning to RLHF is the list of rewards."""
    rewards = [{"name": "preference", "params": {"model": str(one)}}]
    algorithm = {"preset": "dr_grpo", "kl_coefficient": 0.05, "kl_in": "reward", "kl_estimator": "k1"}
    *_, last = trained(in_folder, rewards=rewards, algorithm=algorithm)
    assert last["variance/preference"] == pytest.approx(1.0)
    assert last["reward/mean"] == pytest.approx(last["reward/preference"])
    assert not preference._loaded  # the run is over


def test_scoring_in_the_thread_that_samples_ahead_changes_nothing_between_two_runs(in_folder: Path, one: Path) -> None:
    ahead = ("rollout.engine=copies:copy_engine", "rollout.async_steps=1", "algorithm.importance=token")
    rewards = [{"name": "preference", "params": {"model": str(one)}}]

    def figures(name: str) -> list[dict[str, float]]:
        trained(in_folder, f"name={name}", *ahead, rewards=rewards, run={"steps": 3})
        lines = (in_folder / f"runs/{name}/metrics.jsonl").read_text().splitlines()
        return [untimed(json.loads(line)) for line in lines]

    assert figures("one") == figures("two")


def test_the_head_of_a_run_says_where_a_model_may_be_better_than_length_by_chance(one: Path) -> None:
    card = read_card(one)
    clear, doubtful = (card.model_copy(update={"evaluation": evaluation(0.6 + gap, 0.6)}) for gap in (0.2, 0.03))
    assert "may be noise" not in describe(clear, "it")
    assert "may be noise" in describe(doubtful, "it")
