"""Bugs that other trainers shipped, each as a test that it is not here.

Held by other files, the bug and its test:

- gradient accumulation scales the loss (trl issues 2617 and 5619): test_invariance::test_micro_batch_size
- the loss depends on what shares a batch (trl PR 5890): test_invariance::test_packing
- padded positions leak into the loss (trl PR 6654): test_invariance::test_padding_content
- padding on the wrong side shifts positions: test_invariance::test_padding_side
- all logits at once, out of memory (trl issue 3678):
  test_invariance::test_no_tensor_of_a_whole_update_holds_more_logits_than_a_group
- two tokens begin the prompt (unsloth-zoo PR 832):
  test_templates::test_a_beginning_of_sequence_token_stands_exactly_once_in_a_chat
- a group of one learns from its raw reward (verl, SkyRL):
  test_algorithms::test_a_single_scored_member_gets_zero_and_not_its_reward
- a member that has no score counts as 0 (trl PR 5902):
  test_credit::test_a_member_without_a_score_gets_exactly_zero_and_leaves_every_baseline
- a baseline without spread is divided by an epsilon (NeMo-RL PR 4158):
  test_credit::test_groups_that_teach_nothing_get_exactly_zero
- the divergence is maximized (Logic-RL issue 58), or a loss on it does nothing or pulls elsewhere (trl, slime):
  test_divergence::test_the_expected_gradient_of_a_divergence_loss_is_that_of_the_divergence
- masked tokens make the rest count for more (AReaL's functional.py):
  test_presets::test_masked_tokens_stay_in_the_average_so_that_the_rest_does_not_count_for_more
- the denominator of masked completions is left to chance (trl issue 6369):
  test_credit::test_a_masked_completion_stays_in_the_denominator_and_a_dropped_one_does_not
- a filter leaves ranks with unequal work, and they wait for each other (verl PR 5228):
  test_parallel::test_two_processes_end_with_the_weights_and_metrics_of_one
- one problem twice in a step gets the same completions twice:
  test_rollouts::test_a_problem_that_comes_twice_in_a_step_is_sampled_with_other_seeds
- dynamic sampling underfills or stops the run (AReaL issue 450, DAPO issue 22):
  test_rollouts::test_attempts_are_bounded_and_the_step_goes_on_with_what_there_is
- a resumed run is another run (trl issue 3247):
  test_training::test_a_run_that_was_killed_says_so_and_goes_on_as_if_nothing_had_happened
- data is skipped or seen twice after a resume (verl issue 3457):
  test_loop::test_data_order_is_a_function_of_seed_and_position
- unknown keys are swallowed (NeMo-RL's extra="allow"):
  test_config::test_an_unknown_key_is_refused_with_file_line_and_nearest_name

- a turn is tokenized again when another follows it (trl issue 5224):
  test_trajectories::test_what_an_environment_answers_stands_between_the_very_tokens_that_were_sampled
- what an environment says is learned from, or counts in averages (verl, TRL):
  test_trajectories::test_the_gradient_is_that_of_the_chosen_tokens_written_out

Not applicable: drift of merged LoRA weights (trl issue 6688), since adapters are never merged.
"""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import ast
import copy
import math
import random
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
from builders import (
    batch,
    completion,
    letter_tokenizer,
    problem,
    reward,
    run_config,
    scorer,
    small_llama,
    training_sample,
)
from gradients import (
    Recorder,
    Step,
    even_llama,
    exact_logprobs,
    gradient,
    learner,
    random_step,
    relative_error,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reasonrl.algorithms.advantages import ADVANTAGES
from reasonrl.algorithms.importance import sequence_weights
from reasonrl.config.settings import RolloutSettings
from reasonrl.engines import Request, SamplingParams
from reasonrl.engines.batch import sample_all
from reasonrl.engines.local import LocalEngine
from reasonrl.errors import PluginError, RunError
from reasonrl.learner.credit import Credit
from reasonrl.learner.rng import RNG_FILE, restore_rng, save_rng, seed_rng
from reasonrl.plugins.lookup import Plugins, named_arguments
from reasonrl.run.files.checkpoint import CHECKPOINT_FILE, seal, verify
from reasonrl.scoring.penalties import OverlongPenalty
from reasonrl.types import (
    FinishReason,
    Group,
    RewardResult,
    RewardResults,
    Rollout,
    Score,
    TrainingSample,
    Trajectory,
    mean_advantage,
)

PAD = END = 0
"""The learner pads with the token that is also the end of a sequence in the models of these tests."""


def sample(*tokens: int, prompt: Sequence[int] = (3, 4, 5), advantage: float = 1.0) -> TrainingSample:
    return training_sample(prompt, tokens, advantage, sampler_logprobs=(-3.0,) * len(tokens))


def credit(name: str = "group_centered") -> Credit:
    return Credit(estimator=named_arguments(ADVANTAGES[name]))


def group_of(*completions: Trajectory, id: str = "0", prompt_ids: tuple[int, ...] = (3, 4, 5)) -> Group:
    return Group(problem=problem(id=id), prompt="", prompt_ids=prompt_ids, trajectories=completions)


def scored(*values: float | None) -> RewardResults:
    scores = [Score.unscorable("-") if value is None else Score(value) for value in values]
    return tuple(RewardResult(total=score, rewards={"r": score}) for score in scores)


def test_the_tests_named_above_exist() -> None:
    named = re.findall(r"(test_\w+)::(test_\w+)", __doc__ or "")
    assert len(named) > 15
    for file, name in named:
        module = ast.parse((Path(__file__).parent / f"{file}.py").read_text(encoding="utf-8"))
        assert name in {node.name for node in module.body if isinstance(node, ast.FunctionDef)}


# Tokens.


def test_the_end_token_is_learned_though_it_is_the_padding_token() -> None:
    """rlhf-book, trl PR 4970: a mask made from ``token != pad`` drops the end token, and the model never stops."""
    samples = [sample(7, 8, END), sample(6, 7, 8, 9, 10, 11, advantage=-0.5), sample(END, advantage=0.3)]
    model = even_llama()
    loss = torch.stack(
        [-mean_advantage(s.advantages_T) * exact_logprobs(model, s).sum() / 10 for s in samples]
    ).sum()  # 10 tokens
    expected = torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(model.parameters()))])
    assert relative_error(gradient(Step(samples), "reinforce++"), expected) < 1e-5


def test_any_of_several_end_tokens_finishes_a_completion() -> None:
    """trl PR 7039, ms-swift issue 4950: one of several EOS ids is known, finished answers count as truncated."""
    model = small_llama()
    model.generation_config.eos_token_id = [END, 5, 9]
    requests = [Request(prompt_ids=(3, 4), seed=seed, params=SamplingParams(max_new_tokens=30)) for seed in range(60)]
    completions = sample_all(LocalEngine(model, letter_tokenizer()), requests)
    last = {c.token_ids[-1]: c.finish_reason for c in completions if c.token_ids[-1] in (END, 5, 9)}
    assert last == {END: "stop", 5: "stop", 9: "stop"}


# Groups.


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(
        st.lists(st.tuples(st.sampled_from([None, 0.0, 0.5, 1.0]), st.booleans()), min_size=4, max_size=4),
        min_size=1,
        max_size=5,
    )
)
def test_members_that_drop_out_shift_no_group(rows: list[list[tuple[float | None, bool]]]) -> None:
    """open-instruct PR 1794, slime: truncated samples were dropped, then rewards reshaped to (-1, n)."""

    def member(p: int, g: int, cut: bool) -> Trajectory:
        reason: FinishReason = "length" if cut else "stop"
        return completion(tokens=[1 + p, 1 + g], index=g, finish_reason=reason)

    groups = [group_of(*(member(p, g, cut) for g, (_, cut) in enumerate(row)), id=str(p)) for p, row in enumerate(rows)]
    # ``drop`` takes the score of what was cut.
    kept = [[None if cut else value for value, cut in row] for row in rows]
    subject = replace(credit(), truncated="drop")
    step = batch(groups, [scored(*row) for row in kept])
    got = {s.token_ids: s.advantages_T for s in subject.samples(step, subject.estimate(step))}
    expected = {}
    for p, row in enumerate(kept):
        values = [value for value in row if value is not None]
        for g, value in enumerate(row):
            if not rows[p][g][1]:
                teaches = value is not None and len(set(values)) > 1
                expected[(1 + p, 1 + g)] = value - fmean(values) if teaches and value is not None else 0.0
    assert got == pytest.approx(expected)


def test_two_problems_with_the_same_prompt_stay_two_groups() -> None:
    """NeMo-RL: groups found by equal prompt tokens merge rows that differ in their answer only."""
    groups = [
        group_of(*(completion(tokens=[7 + 2 * p + g, END], index=g) for g in range(2)), id=f"answer {p}")
        for p in range(2)
    ]
    step = batch(groups, [scored(1.0, 0.0), scored(10.0, 9.0)])
    subject = credit()
    estimates = subject.estimate(step)
    assert estimates.advantages == ((0.5, -0.5), (0.5, -0.5))
    samples = subject.samples(step, estimates)
    apart = sum(gradient(Step([one]), "dr_grpo") / 4 for one in samples)
    assert isinstance(apart, Tensor)
    assert relative_error(gradient(Step(samples), "dr_grpo"), apart) < 1e-5


# Rewards.


def test_a_step_in_which_every_reward_is_none_moves_nothing() -> None:
    """trl issues 5773 and 6426: None became 0, and what was not judged got a gradient."""
    groups = [group_of(*(completion(tokens=[7 + g, END], index=g) for g in range(3)))]
    step, subject = batch(groups, scorer(lambda rollout: None).score(groups, 1)), credit()
    assert subject.estimate(step).advantages == ((0.0, 0.0, 0.0),)
    one = learner(run_config(algorithm="grpo", learner={"learning_rate": 0.1}), copy.deepcopy(even_llama()))
    before = copy.deepcopy(one.model.state_dict())
    one.update(subject.samples(step, subject.estimate(step)))
    assert all(torch.equal(value, before[name]) for name, value in one.model.state_dict().items())


def test_a_constant_reward_adds_nothing_under_gdpo() -> None:
    """ms-swift issue 8123: a reward that was the same for a whole group was divided by its spread, and gave NaN."""
    group = group_of(*(completion(tokens=[7 + g], index=g) for g in range(4)))
    answer = reward(lambda rollout: rollout.completion.sample_index % 2, name="answer")
    constant = reward(lambda rollout: 0.1, name="form", weight=100.0)
    alone = batch([group], scorer(answer).score([group], 1))
    both = batch([group], scorer(answer, constant).score([group], 1))
    (expected,), (got,) = (credit("gdpo").estimate(step).advantages for step in (alone, both))
    assert got == expected == pytest.approx((-1, 1, -1, 1), abs=1e-5)


def flaky(rollout: Rollout) -> Score | float:
    """Right for even members; the fourth is never judged: the scorer ran out of time, or its host was down."""
    if rollout.completion.sample_index == 3:
        if rollout.text == "slow":
            return Score(None, "no answer within 5 s", "timeout")
        raise ConnectionError("the sandbox is down")
    return float(rollout.completion.sample_index % 2 == 0)


@pytest.mark.parametrize(("text", "outcome"), [("slow", "timeout"), ("2", "error")])
def test_what_could_not_be_graded_is_not_wrong(text: str, outcome: str) -> None:
    """miles PR 3221: a timeout is a 0. open-instruct PR 1887: 5 to 15 % of all zeros were failures of machines."""
    group = group_of(*(completion(text, tokens=[7 + g], index=g) for g in range(4)))
    results = scorer(flaky, max_failure_rate=0.5).score([group], 1)
    results = OverlongPenalty(max_new_tokens=12, window=0.5)([group], results)
    assert results[0][3].total.outcome == outcome
    assert results[0][3].value is None
    (row,) = credit().estimate(batch([group], results)).advantages
    assert row == pytest.approx((1 / 3, -2 / 3, 1 / 3, 0.0))


# Ratios.


def test_cispo_does_not_shrink_the_gradient_of_fresh_samples() -> None:
    """trl: the cap defaults to 0.2, so that every ratio of 1 becomes 0.2 and the gradient a fifth."""
    samples = random_step(0).samples
    assert relative_error(gradient(Step(samples), "cispo"), gradient(Step(samples), "reinforce++")) < 1e-5
    capped = run_config(algorithm={"preset": "cispo", "loss": {"params": {"ratio_cap": 0.2}}}).algorithm.loss
    with pytest.raises(PluginError, match="'ratio_cap': input should be greater than 1"):
        Plugins().function("losses", capped)


def test_a_long_sequence_is_not_cut_more_than_a_short_one() -> None:
    """trl issue 5814: sequence weights from the sum of log-ratios mask by length (mean weight 0.57, not 0.99)."""
    short, long = torch.tensor([0.1, 0.2]), torch.tensor([0.1, 0.2] * 100)
    weights = sequence_weights(torch.cat([short, long]), torch.zeros(202), torch.tensor([2, 200]), low=0.0, high=2.0)
    assert weights.tolist() == pytest.approx([math.exp(0.15)] * 202)


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.5])
def test_sampler_and_learner_say_the_same_log_probabilities_at_any_temperature(temperature: float) -> None:
    """trl issue 4159: one side divided by the temperature and the other did not; ratios of 2 at 0.6."""
    rollout = {"prompts_per_step": 4, "samples_per_prompt": 4, "max_new_tokens": 12, "temperature": temperature}
    one = learner(run_config(algorithm="grpo", rollout=rollout), small_llama(), Recorder)
    measured = one.update(sampled(LocalEngine(one.model, letter_tokenizer()), temperature))
    assert measured["learner/tokens"] > 50
    assert measured["mismatch/max"] < 1e-4


def sampled(engine: LocalEngine, temperature: float = 1.0) -> list[TrainingSample]:
    """What the embedded engine samples with the weights of this moment."""
    prompt, params = (3, 4, 5, 6), SamplingParams(max_new_tokens=12, temperature=temperature)
    completions = sample_all(engine, [Request(prompt_ids=prompt, seed=seed, params=params) for seed in range(16)])
    return [
        training_sample(prompt, c.token_ids, (-1.0) ** number, sampler_logprobs=c.logprobs)
        for number, c in enumerate(completions, start=1)
    ]


@pytest.mark.parametrize("key", ["top_p", "top_k", "min_p"])
def test_sampling_from_part_of_the_distribution_is_refused(key: str) -> None:
    """trl issue 6789, rlhf-book: ratios against a truncated distribution are biased, and nobody is told."""
    with pytest.raises(ValueError, match=key):
        RolloutSettings.model_validate({key: 0.9})


def test_the_engine_samples_from_the_weights_of_the_latest_update() -> None:
    """trl issues 3189 and 5312: weights were not synced, the ratio fell to 0.018 and training went on."""
    one = learner(run_config(algorithm="grpo", learner={"learning_rate": 0.02}), small_llama())
    engine = LocalEngine(one.model, letter_tokenizer())
    first = sampled(engine)
    for _ in range(3):
        assert one.update(sampled(engine))["mismatch/max"] < 1e-4
        engine.load_weights(one.weights(), one.policy_version)
    assert one.update(first)["mismatch/max"] > 0.1  # what was sampled at first is stale by now


def test_with_a_learning_rate_of_zero_nothing_moves_for_any_number_of_steps() -> None:
    """open-instruct issue 1473: sampler and learner drifted apart although no weight was to change."""
    config = run_config(algorithm="grpo", learner={"learning_rate": 0.0, "epochs": 2, "weight_decay": 0.1})
    one = learner(config, small_llama())
    engine = LocalEngine(one.model, letter_tokenizer())
    before, first = copy.deepcopy(one.model.state_dict()), sampled(engine)
    for _ in range(4):
        assert one.update(sampled(engine))["ratio/max"] == 1.0
    assert all(torch.equal(value, before[name]) for name, value in one.model.state_dict().items())
    assert sampled(engine) == first


# What goes wrong is loud.


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_left_out_and_leaves_no_trace(bad: float) -> None:
    """rlhf-book: a non-finite loss is passed over in silence; elsewhere it ruins the optimizer's moments."""
    config = run_config(algorithm="dr_grpo", learner={"learning_rate": 0.01})
    disturbed, undisturbed = (learner(config, copy.deepcopy(even_llama())) for _ in range(2))
    samples = random_step(0).samples
    for one in (disturbed, undisturbed):
        one.update(samples)
    measured = disturbed.update([*samples[1:], replace(samples[0], advantages_T=bad)])
    assert [*measured] == ["policy/grad_norm"]
    assert math.isnan(measured["policy/grad_norm"])
    assert disturbed.policy_version == 1
    for one in (disturbed, undisturbed):
        one.update(samples)
    pairs = zip(disturbed.model.parameters(), undisturbed.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


# State.


def drawn() -> tuple[float, float, float]:
    """The next number of each generator."""
    return random.random(), float(np.random.random()), float(torch.rand(()))


def test_every_random_generator_goes_on_where_it_was(tmp_path: Path) -> None:
    """trl issue 5863: generators that a checkpoint leaves out start again."""
    seed_rng(3)
    drawn()
    np.random.standard_normal()  # half of a pair: numpy keeps the other for later
    random.gauss(0, 1)
    save_rng(tmp_path)
    expected = drawn(), np.random.standard_normal(), random.gauss(0, 1)
    seed_rng(4)
    assert drawn() != expected[0]
    restore_rng(tmp_path)
    assert (drawn(), np.random.standard_normal(), random.gauss(0, 1)) == expected


def test_a_seed_starts_every_generator() -> None:
    seed_rng(2**40)
    first = drawn()
    seed_rng(2**40)
    assert drawn() == first


def test_missing_generators_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=RNG_FILE):
        restore_rng(tmp_path)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete checkpoint as a run writes it."""
    folder: Path = tmp_path_factory.mktemp("checkpoint")
    one = learner(run_config(algorithm="grpo", learner={"learning_rate": 0.01}), copy.deepcopy(even_llama()))
    one.update(random_step(0).samples)
    one.save_state(folder)
    letter_tokenizer().save_pretrained(folder)
    save_rng(folder)
    (folder / "nested").mkdir()
    (folder / "nested" / "state.bin").write_bytes(bytes(1000))
    seal(folder, step=7, position=56)
    return folder


def copied(folder: Path, place: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(folder, place / "copy"))


def test_a_complete_checkpoint_says_where_the_run_stands(checkpoint: Path) -> None:
    found = verify(checkpoint)
    assert (found.step, found.position) == (7, 56)
    assert {"learner.pt", RNG_FILE, "model.safetensors", "config.json", "nested/state.bin"} <= found.parts.keys()


def test_every_missing_part_is_refused_by_name(checkpoint: Path, tmp_path: Path) -> None:
    """trl issue 5863: one missing state file, and the run began again at its first prompt without a word."""
    for number, name in enumerate([*verify(checkpoint).parts, CHECKPOINT_FILE]):
        damaged = copied(checkpoint, tmp_path / str(number))
        (damaged / name).unlink()
        with pytest.raises(RunError, match=f"lacks {name}"):
            verify(damaged)


def test_every_truncated_or_changed_part_is_refused_by_name(checkpoint: Path, tmp_path: Path) -> None:
    for number, name in enumerate(verify(checkpoint).parts):
        damaged = copied(checkpoint, tmp_path / str(number)) / name
        whole = damaged.read_bytes()
        changed = bytes([whole[0] ^ 1]) + whole[1:]
        for content in (whole[:-1], b"", whole + b"\0", changed):
            damaged.write_bytes(content)
            with pytest.raises(RunError, match=f"{name} is not the file"):
                verify(damaged.parents[name.count("/")])


@pytest.mark.parametrize("content", ["", "{", '{"step": 7}', '{"step": 7, "position": 5, "parts": {}, "more": 1}'])
def test_a_damaged_manifest_is_refused_by_name(content: str, checkpoint: Path, tmp_path: Path) -> None:
    damaged = copied(checkpoint, tmp_path)
    (damaged / CHECKPOINT_FILE).write_text(content)
    with pytest.raises(RunError, match=CHECKPOINT_FILE):
        verify(damaged)


def test_a_learner_state_without_one_of_its_values_is_refused_by_name(checkpoint: Path, tmp_path: Path) -> None:
    for name in ("policy_version", "steps_taken", "objective"):
        damaged = copied(checkpoint, tmp_path / name)
        state = torch.load(damaged / "learner.pt", weights_only=True)
        del state[name]
        torch.save(state, damaged / "learner.pt")
        with pytest.raises(RunError, match=name):
            learner(run_config(), copy.deepcopy(even_llama())).restore_state(damaged)


def test_an_optimizer_state_that_is_missing_or_of_another_model_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    damaged = copied(checkpoint, tmp_path)
    with pytest.raises(RunError, match="of no parameter that learns here"):
        learner(run_config(), small_llama(layers=1)).restore_state(damaged)
    shutil.rmtree(damaged / "optimizer")
    with pytest.raises(RunError, match="lacks optimizer/"):
        learner(run_config(), copy.deepcopy(even_llama())).restore_state(damaged)
