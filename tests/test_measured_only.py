"""What is only measured, a reward of weight 0 or an uncharged divergence, changes nothing and is logged."""

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import (
    batch,
    completion,
    group,
    logprob_model,
    policy_learner,
    problem,
    run_config,
    scorer,
    small_llama,
    training_samples,
    untimed,
)
from builders import reward as bound
from hypothesis import given
from hypothesis import strategies as st

from reasonrl.config.settings import RewardRef
from reasonrl.errors import RunError
from reasonrl.learner.controller import KLController
from reasonrl.learner.credit import estimator_arguments
from reasonrl.learner.penalty import KLPenalty
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.files.checkpoint import load_pending, save_pending
from reasonrl.run.metrics import step_metrics
from reasonrl.run.start import resume_run, start_run
from reasonrl.scoring.combine import combine, needed_rewards
from reasonrl.types import Group, RewardResult, Rollout, Score, StepRecord, TrainingSample

# Rewards of weight 0

VALUES = st.one_of(st.none(), st.floats(-5, 5))


def scores(values: Sequence[float | None], outcome: Any = "error") -> list[Score]:
    """Scores of these values; None is a failure. Any: an outcome."""
    return [Score(None, "-", outcome) if value is None else Score(value) for value in values]


@given(st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=4), st.sampled_from(["error", "unscorable"]))
def test_a_reward_of_weight_0_changes_no_total_whatever_it_says(
    members: list[tuple[float | None, ...]], outcome: str
) -> None:
    a, b, gold = (list(column) for column in zip(*members, strict=True))
    refs = [RewardRef(name="a"), RewardRef(name="b", weight=0.5, gate="a", gate_at_least=0.0)]
    columns = {"a": scores(a), "b": scores(b)}
    without = combine(columns, refs, 1)
    measured = combine({**columns, "gold": scores(gold, outcome)}, [*refs, RewardRef(name="gold", weight=0.0)], 1)
    assert [result.total for result in measured] == [result.total for result in without]
    assert [result.rewards["gold"].value for result in measured] == gold


def test_where_no_reward_with_a_weight_applies_one_of_weight_0_makes_no_total() -> None:
    columns = {"a": [Score.unscorable("-")] * 2, "gold": [Score(1.0), Score(0.0)]}
    found = combine(columns, [RewardRef(name="a"), RewardRef(name="gold", weight=0.0)], 1)
    assert [result.total.outcome for result in found] == ["unscorable"] * 2


def test_a_gate_needs_its_value_also_at_weight_0() -> None:
    refs = [RewardRef(name="right", weight=0.0), RewardRef(name="style", gate="right"), RewardRef(name="x", weight=0.0)]
    assert needed_rewards(refs, 1) == {"right", "style"}
    moving = RewardRef.model_validate({"name": "m", "weight": {"start": 0.0, "end": 1.0, "steps": 3}})
    assert needed_rewards([moving], 1) == frozenset()
    assert needed_rewards([moving], 2) == {"m"}


def broken(rollout: Rollout) -> float:
    raise ValueError("no gold today")


def right(rollout: Rollout) -> float:
    return float(rollout.text == "2")


def test_a_reward_of_weight_0_that_fails_stops_no_run_but_a_gate_does() -> None:
    with scorer_of(bound(right, name="a"), bound(broken, name="gold", weight=0.0)) as subject:
        (results,) = subject.score([group(["2", "3"])], 1)
    assert [result.total.value for result in results] == [1.0, 0.0]
    assert [result.rewards["gold"].outcome for result in results] == ["error"] * 2
    gated = bound(right, name="a", gate="gold")
    with (
        scorer_of(gated, bound(broken, name="gold", weight=0.0)) as subject,
        pytest.raises(RunError, match="'gold' failed on 2 of 2"),
    ):
        subject.score([group(["2", "3"])], 1)


def scorer_of(*rewards: Any) -> Any:
    """A scorer that closes itself. Any: rewards, and a context."""
    return closing(scorer(*rewards))


@pytest.mark.parametrize("estimator", ["gdpo", "group_normalized", "batch_normalized", "leave_one_out"])
def test_no_estimator_sees_a_reward_of_weight_0(estimator: str) -> None:
    advantages = Plugins().find("advantages", estimator).value
    a, b = [1.0, 0.0, 0.5, 0.25], [0.3, 0.1, 0.1, 0.9]
    refs = [RewardRef(name="a"), RewardRef(name="b", weight=0.5)]

    def estimated(gold: Sequence[float | None] | None) -> torch.Tensor:
        extra: dict[str, list[Score]] = {} if gold is None else {"gold": scores(gold)}
        more = [] if gold is None else [RewardRef(name="gold", weight=0.0)]
        results = combine({"a": scores(a), "b": scores(b), **extra}, [*refs, *more], 1)
        given = estimator_arguments(batch([group(["x"] * 4)], [results]))
        names = {"gdpo": ("rewards_PG", "rewards_RPG", "weights_R")}.get(estimator, ("rewards_PG",))
        found: torch.Tensor = advantages(**{name: given[name] for name in names})
        return found

    alone = estimated(None)
    said: list[list[float | None]] = [[5.0, 0.0, 1.0, 2.0], [None, 1.0, 0.0, None], [None] * 4]
    for gold in said:
        assert torch.equal(estimated(gold), alone)


def test_the_variance_of_a_sum_leaves_out_what_weighs_nothing_and_shows_who_decides() -> None:
    """A verifier that is all right or all wrong in most groups, beside a reward model that varies a little in each."""
    refs = [RewardRef(name="right"), RewardRef(name="model", weight=0.1), RewardRef(name="gold", weight=0.0)]
    rights = [[1, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1]]
    model = [1.0, -1.0, 1.0, -1.0]
    results = [
        combine({"right": scores(of), "model": scores(model), "gold": scores([9.0, None, 3.0, 1.0])}, refs, 1)
        for of in rights
    ]
    found = measured_of([group(["x"] * 4)] * 4, results)
    # Sample deviations of right are 1/2, those of 0.1 * model are 1/10: in the first group the parts are 5/6 and 1/6.
    assert found["variance/right"] == pytest.approx(5 / 6 / 4)
    assert found["variance/model"] == pytest.approx((1 / 6 + 3) / 4)
    # Pooled, var(total) is 0.36 in the first group and 0.01 in three, times 4 / 3.
    assert found["variance_pooled/right"] == pytest.approx(0.30 / 0.39)
    assert found["variance_pooled/model"] == pytest.approx(0.09 / 0.39)
    assert (found["variance/gold"], found["variance_pooled/gold"]) == (0.0, 0.0)


def measured_of(groups: Sequence[Group], results: Sequence[Any], **measured: float) -> dict[str, float]:
    """The metrics of a step. Any: results of rewards."""
    record = StepRecord(
        batch=batch(groups, results),
        advantages=tuple((0.0,) * len(one) for one in results),
        policy_version=0,
        measured=measured,
        seconds={"waiting": 1.0, "learning": 1.0, "weight_sync": 0.0},
    )
    return step_metrics(record)


def test_the_standard_error_of_a_reward_is_that_over_problems() -> None:
    refs = [RewardRef(name="a"), RewardRef(name="gold", weight=0.0)]
    columns: list[tuple[list[float | None], list[float | None]]]
    columns = [([1.0, 1.0], [1.0, None]), ([0.0, 0.0], [0.0, 0.5]), ([1.0, 0.0], [None, None])]
    results = [combine({"a": scores(a), "gold": scores(gold)}, refs, 1) for a, gold in columns]
    found = measured_of([group(["x", "y"])] * 3, results)
    assert found["reward_stderr/a"] == found["reward_stderr/mean"] == pytest.approx(0.5 / math.sqrt(3))
    assert found["reward_stderr/gold"] == pytest.approx(math.sqrt(2 * 0.375**2) / math.sqrt(2))
    (alone, *_) = results
    assert "reward_stderr/a" not in measured_of([group(["x", "y"])], [alone])


# The divergence


def noted(is_charged: bool) -> tuple[list[Group], list[RewardResult], torch.Tensor]:
    """Two completions of a small model, scored by 1 each, and their log-ratios [2, 3] to another model."""
    policy, reference = logprob_model(small_llama(seed=0)), logprob_model(small_llama(seed=1))
    tokens = [(5, 6, 7), (8, 9, 0)]
    blank = [completion(tokens=ids, index=index) for index, ids in enumerate(tokens)]
    drawn = sampled_by(policy, blank)
    groups = [Group(problem=problem(), prompt="", prompt_ids=(1, 2), trajectories=drawn)]
    settings = run_config(algorithm={"preset": "rloo", "kl_coefficient": 0.5}).algorithm
    penalty = KLPenalty(
        reference=reference, controller=KLController(settings), microbatch_tokens=100, is_charged=is_charged
    )
    result = RewardResult(total=Score(1.0), rewards={"a": Score(1.0)})
    ((*results,),) = penalty(groups, ((result, result),))
    theirs = torch.tensor([one.logprobs for one in sampled_by(reference, blank)])
    ours = torch.tensor([one.logprobs for one in drawn])
    return groups, results, (ours - theirs).double()


def sampled_by(model: Any, blank: Sequence[Any]) -> tuple[Any, ...]:
    """The completions with the log-probabilities that a model gives them. Any: a model; trajectories."""
    group_ = Group(problem=problem(), prompt="", prompt_ids=(1, 2), trajectories=tuple(blank))
    found = model.of_samples([TrainingSample.of(group_, one) for one in blank], max_tokens=100)
    return tuple(replace(one, logprobs=tuple(of.tolist())) for one, of in zip(blank, found, strict=True))


@pytest.mark.parametrize("is_charged", [False, True])
def test_the_divergence_of_a_completion_is_noted_and_charged_only_where_that_is_asked_for(is_charged: bool) -> None:
    groups, results, log_ratios_GT = noted(is_charged)
    for result, k1_T in zip(results, log_ratios_GT, strict=True):
        assert result.divergence is not None
        assert result.divergence.k1 == pytest.approx(float(k1_T.sum()), abs=1e-5)
        assert result.divergence.k3 == pytest.approx(float(((-k1_T).exp() - 1 + k1_T).sum()), rel=1e-4)
        assert result.value == pytest.approx(1.0 - 0.5 * float(k1_T.sum()) * is_charged, abs=1e-5)
        assert bool(result.penalties) == is_charged
    found = measured_of(groups, [tuple(results)])
    assert found["policy/kl_sequence"] == pytest.approx(float(log_ratios_GT.sum()) / 2, abs=1e-5)
    assert found["policy/kl"] == pytest.approx(float(((-log_ratios_GT).exp() - 1 + log_ratios_GT).mean()), rel=1e-4)
    assert found["policy/kl_sqrt"] == pytest.approx(math.sqrt(max(found["policy/kl_sequence"], 0.0)))
    assert ("penalty/kl" in found) == is_charged
    if is_charged:
        assert found["penalty/kl"] == pytest.approx(0.5 * found["policy/kl_sequence"])


def test_a_divergence_in_the_loss_is_measured_for_whole_completions_too() -> None:
    config = run_config(algorithm={"preset": "grpo", "kl_coefficient": 0.1})
    samples, models = training_samples(), [small_llama(seed=seed) for seed in (0, 1)]
    ours, theirs = (logprob_model(model).of_samples(samples, max_tokens=1000) for model in models)
    expected = sum(float((a - b).sum()) for a, b in zip(ours, theirs, strict=True)) / len(samples)
    measured = policy_learner(models[0], config, reference=logprob_model(models[1])).update(samples)
    assert measured["policy/kl_sequence"] == pytest.approx(expected, rel=1e-4)
    assert step_kl_sqrt(measured) == pytest.approx(math.sqrt(max(expected, 0.0)), rel=1e-4)


def step_kl_sqrt(measured: Mapping[str, float]) -> float:
    """The root that a step's line has, where the learner measured the divergence."""
    results = combine({"a": scores([1.0, 0.0])}, [RewardRef(name="a")], 1)
    return measured_of([group(["x", "y"])], [results], **measured)["policy/kl_sqrt"]


RUN = """\
name: {name}
model: {model}
task: {{name: arithmetic, params: {{num_problems: 60, min_terms: 2, max_terms: 2}}}}
template: plain
rewards:
- {{name: ./rewards.py:closeness, isolated: false}}
{more}
algorithm: {algorithm}
rollout: {{prompts_per_step: 2, samples_per_prompt: 4, max_new_tokens: 6}}
learner: {{learning_rate: 2e-3}}
run: {{steps: {steps}, checkpoint_every: 2, keep_checkpoints: 20}}
"""
REWARDS = """
def closeness(rollout):
    return -abs(len(rollout.text) - 4) / 4

def broken(rollout):
    raise ValueError("no gold today")

def until_step_6(rollout, step):
    return float(step <= 6)

def steps(rollout, step):
    return float(step) + len(rollout.text) / 100
"""


def train(
    name: str, algorithm: str = "dr_grpo", more: str = "", *overrides: str, model: str = "tiny", steps: int = 3
) -> list[dict[str, Any]]:
    """Train a small run and return its lines of metrics, but what a clock decides. Any: JSON values."""
    Path("rewards.py").write_text(REWARDS)
    file = Path(f"{name}.yaml")
    file.write_text(RUN.format(name=name, model=model, algorithm=algorithm, more=more, steps=steps))
    start_run(file, overrides, [], argv=["test"])
    return lines(name)


def lines(name: str) -> list[dict[str, Any]]:
    """The lines of metrics of a run, but what a clock decides. Any: JSON values."""
    read = [json.loads(line) for line in Path("runs", name, "metrics.jsonl").read_text().splitlines()]
    return [untimed(line) for line in read]


def without(found: Sequence[Mapping[str, Any]], *words: str) -> list[dict[str, Any]]:
    """The lines without what these words are part of. Any: JSON values."""
    return [{name: value for name, value in line.items() if not any(w in name for w in words)} for line in found]


def test_a_run_that_measures_learns_to_the_last_bit_as_one_that_does_not(in_folder: Path) -> None:
    gold = "- {name: ./rewards.py:broken, label: gold, weight: 0.0, isolated: false}"
    plain = train("plain")
    measuring = train("measuring", "{preset: dr_grpo, kl_measured: true}", gold)
    assert without(measuring, "policy/kl", "gold") == without(plain, "policy/kl", "gold")
    assert plain[-1]["policy/loss"] != 0
    sequences = [line["policy/kl_sequence"] for line in measuring]
    assert abs(sequences[0]) < 1e-4  # the policy is the initial one yet
    assert sequences[-1] > 1e-3
    assert [line["policy/kl_sqrt"] for line in measuring] == [math.sqrt(max(kl, 0.0)) for kl in sequences]
    assert not any("policy/kl" in name for line in plain for name in line)
    assert all(line["outcome/gold/error"] == 8.0 for line in measuring)


def test_a_charged_divergence_is_logged_beside_its_penalty(in_folder: Path) -> None:
    found = train("charged", "{preset: rloo, kl_coefficient: 0.05}")
    for line in found:
        assert line["penalty/kl"] == pytest.approx(0.05 * line["policy/kl_sequence"])
        assert line["policy/kl"] >= 0


def test_an_adapter_is_measured_against_the_model_below_it(in_folder: Path) -> None:
    found = train("lora", "{preset: dr_grpo, kl_measured: true}", model="{name: tiny, lora: {rank: 4, alpha: 64}}")
    assert abs(found[0]["policy/kl_sequence"]) < 1e-4
    assert found[-1]["policy/kl_sequence"] > 1e-4


def test_measuring_an_adapter_while_sampling_ahead_is_refused() -> None:
    with pytest.raises(ValueError, match=r"algorithm\.kl_measured asks the model that is being learned"):
        run_config(
            model={"name": "tiny", "lora": {}},
            rollout={"async_steps": 1, "engine": "vllm_server"},
            algorithm={"preset": "dr_grpo", "kl_measured": True, "importance": "token"},
        )


@pytest.mark.slow
def test_over_optimization_rolls_a_run_back_to_a_checkpoint_from_the_peak(in_folder: Path) -> None:
    rewards = (
        "- {name: ./rewards.py:steps, weight: 1.0, isolated: false}\n"
        "- {name: ./rewards.py:until_step_6, label: gold, weight: 0.0, isolated: false}"
    )
    alarms = "alarms={gold: gold, over_optimization: rollback, max_rollbacks: 1, truncation: off}"
    with pytest.raises(RunError, match="rolled back 1 times already"):
        train("fell", "{preset: dr_grpo, kl_measured: true}", rewards, alarms, steps=9)
    events = [json.loads(line) for line in Path("runs/fell/events.jsonl").read_text().splitlines()]
    (back,) = [event for event in events if event["kind"] == "rolled_back"]
    assert "from step 7 to the checkpoint of step 4: over_optimization: gold reward 'gold' fell to" in back["message"]
    assert "nearest checkpoint: step 4" in back["message"]
    assert "root of the KL divergence" in back["message"]
    with pytest.raises(RunError, match="rolled back 1 times already"):
        resume_run(Path("runs/fell"), [], [])


def test_a_batch_that_waits_in_a_checkpoint_keeps_its_divergence(tmp_path: Path) -> None:
    groups, results, _ = noted(is_charged=False)
    waiting = batch(groups, [tuple(results)])
    save_pending(tmp_path, waiting)
    assert load_pending(tmp_path).results == waiting.results
