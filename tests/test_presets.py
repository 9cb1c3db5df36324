"""Every preset against its paper's formula, written out in plain loops, on hand-made rewards, ratios and lengths.

What is compared is the gradient of a real model: rewards go through :class:`Credit`, samples through the learner,
so estimator, loss, limits and reduction are those a run has. The references know nothing of tensors but scalars.
"""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, pstdev
from typing import Any

import pytest
import torch
from builders import LateScorer, batch, completion, problem, run_config, training_sample
from gradients import TEMPERATURE, Recorder, Step, even_llama, exact_logprobs, gradient, learner, relative_error
from torch import Tensor

from reasonrl.algorithms.advantages import ADVANTAGES
from reasonrl.algorithms.importance import band_weights, sequence_weights, token_weights
from reasonrl.algorithms.losses import LOSSES, cispo, clipped_surrogate, gspo, policy_gradient
from reasonrl.algorithms.presets import PRESETS
from reasonrl.commands.config import show as show_config
from reasonrl.commands.plugins import show as show_plugin
from reasonrl.config.runfile import load_any, override_run
from reasonrl.config.settings import AlgorithmSettings, RunConfig
from reasonrl.learner.credit import Credit
from reasonrl.plugins.lookup import Plugins, named_arguments
from reasonrl.scoring.penalties import OverlongPenalty
from reasonrl.types import Group, RewardResult, RewardResults, Score, TrainingSample

LONGEST = 12
"""``max_new_tokens`` of :func:`gradients.gradient`."""

REWARDS: list[list[float | None]] = [[1.0, 0.0, 0.0, 1.0], [0.25, 1.0, None, 0.5], [1.0, 1.0, 1.0, 1.0]]
"""Two groups that differ, one member without a score, one group in which all are right."""

LENGTHS = [[3, 1, 12, 4], [5, 4, 2, 11], [1, 2, 3, 1]]
"""Of 12 tokens at most: DAPO's overlong penalty begins after 9.6."""

RATIOS = [1.0, 1.5, 0.5, 1.1, 0.9, 7.0, 1.0, 0.78, 1.25]
"""Policy over old policy, token by token and over again: inside, above and below every preset's limits."""

UNIFORM_RATIOS = {(0, 0): 1.0003, (0, 1): 0.999, (1, 0): 0.9999, (1, 1): 1.001}
"""Members whose tokens have all the same ratio: just inside and just outside GSPO's narrow limits."""


VALUES = [0.2, 0.6, -0.1, 0.4, 0.9]
"""What a critic expects, token by token and over again."""


@dataclass(frozen=True)
class Member:
    """A completion as a reference sees it."""

    reward: float | None
    values: list[float]
    new: list[Tensor]
    """Log-probabilities as scalars with a gradient."""
    old: list[float]

    def ratios(self) -> list[Tensor]:
        return [(new - old).exp() for new, old in zip(self.new, self.old, strict=True)]


Members = list[list[Member]]


# The references: one function a preset, its paper's formula and nothing else.


def scored(rewards: Sequence[float | None]) -> list[float]:
    return [reward for reward in rewards if reward is not None]


def standardized(reward: float | None, among: Sequence[float | None]) -> float:
    """(r - mean) / std of the members that have a score; 0 where there is nothing to compare."""
    spread = pstdev(scored(among))
    return 0.0 if reward is None or spread == 0 else (reward - fmean(scored(among))) / spread


def clipped(ratio: Tensor, advantage: float, low: float, high: float) -> Tensor | float:
    """min(r A, clip(r, 1 - low, 1 + high) A), PPO's objective."""
    limited = 1 - low if ratio < 1 - low else 1 + high if ratio > 1 + high else ratio
    return ratio * advantage if ratio * advantage < limited * advantage else limited * advantage


def each(groups: Members) -> Iterator[tuple[Member, list[float | None]]]:
    """Every member with the rewards of its group."""
    for group in groups:
        for member in group:
            yield member, [sibling.reward for sibling in group]


def count(groups: Members) -> int:
    return sum(map(len, groups))


def count_tokens(groups: Members) -> int:
    return sum(len(member.new) for group in groups for member in group)


def grpo_reference(groups: Members) -> Any:
    """1/G sum_i 1/|o_i| sum_t min(r A, clip(r) A), A = (R - mean) / std (arXiv:2402.03300, equation 3)."""
    objective: Any = 0.0
    for member, rewards in each(groups):
        advantage = standardized(member.reward, rewards)
        for ratio in member.ratios():
            objective += clipped(ratio, advantage, 0.2, 0.2) / len(member.new) / count(groups)
    return -objective


def dr_grpo_reference(groups: Members) -> Any:
    """Neither |o_i| nor std: A = R - mean, divided by a constant length (arXiv:2503.20783, section 3.2)."""
    objective: Any = 0.0
    for member, rewards in each(groups):
        advantage = 0.0 if member.reward is None else member.reward - fmean(scored(rewards))
        for ratio in member.ratios():
            objective += clipped(ratio, advantage, 0.2, 0.2) / LONGEST / count(groups)
    return -objective


def dapo_reference(groups: Members) -> Any:
    """1 / sum |o_i|, clip 0.2 and 0.28, soft overlong punishment (arXiv:2503.14476, equations 8 and 13)."""
    objective: Any = 0.0
    for group in groups:
        rewards = []
        for member in group:
            beyond = len(member.new) - (LONGEST - 0.2 * LONGEST)
            rewards.append(None if member.reward is None else member.reward - max(beyond, 0) / (0.2 * LONGEST))
        for member, reward in zip(group, rewards, strict=True):
            for ratio in member.ratios():
                objective += clipped(ratio, standardized(reward, rewards), 0.2, 0.28) / count_tokens(groups)
    return -objective


def gspo_reference(groups: Members) -> Any:
    """1/G sum_i min(s A, clip(s) A), s the geometric mean of the tokens' ratios (arXiv:2507.18071, equation 5)."""
    objective: Any = 0.0
    for member, rewards in each(groups):
        log_ratios: Any = sum(ratio.log() for ratio in member.ratios())
        ratio = (log_ratios / len(member.new)).exp()
        objective += clipped(ratio, standardized(member.reward, rewards), 3e-4, 4e-4) / count(groups)
    return -objective


def cispo_reference(groups: Members) -> Any:
    """1 / sum |o_i| sum sg(min(r, cap)) A log pi (arXiv:2506.13585, equations 4 and 5)."""
    objective: Any = 0.0
    for member, rewards in each(groups):
        advantage = standardized(member.reward, rewards)
        for ratio, logprob in zip(member.ratios(), member.new, strict=True):
            objective += min(ratio.item(), 5.0) * advantage * logprob / count_tokens(groups)
    return -objective


def rloo_reference(groups: Members) -> Any:
    """1/G sum_i (R_i - mean of the others) log pi(o_i), importance-weighted, over a constant (arXiv:2402.14740)."""
    objective: Any = 0.0
    for group in groups:
        for number, member in enumerate(group):
            others = scored([other.reward for at, other in enumerate(group) if at != number])
            advantage = 0.0 if member.reward is None else member.reward - fmean(others)
            for ratio in member.ratios():
                objective += ratio * advantage / LONGEST / count(groups)
    return -objective


def reinforce_plus_plus_reference(groups: Members) -> Any:
    """A = (R - mean of the batch) / std of the batch, clipped token by token (arXiv:2501.03262)."""
    objective: Any = 0.0
    everybody = [member.reward for group in groups for member in group]
    for member, _ in each(groups):
        for ratio in member.ratios():
            objective += clipped(ratio, standardized(member.reward, everybody), 0.2, 0.2) / count_tokens(groups)
    return -objective


def estimated(member: Member) -> list[float]:
    """Generalized advantage estimates: the error of each value, and 0.95 of what the next token's is."""
    advantages, ahead, following = list[float](), 0.0, 0.0
    reward = member.reward
    for value in reversed(member.values):
        ahead = (reward or 0.0) + following - value + 0.95 * ahead
        advantages, following, reward = [ahead, *advantages], value, 0.0
    return advantages


def ppo_reference(groups: Members) -> Any:
    """min(r A, clip(r) A), A generalized and whitened (arXiv:1707.06347, equation 7; 1506.02438, equation 16)."""
    members = [member for group in groups for member in group if member.reward is not None]
    everybody = [advantage for member in members for advantage in estimated(member)]
    objective: Any = 0.0
    for member in members:
        for ratio, advantage in zip(member.ratios(), estimated(member), strict=True):
            whitened = (advantage - fmean(everybody)) / pstdev(everybody)
            objective += clipped(ratio, whitened, 0.2, 0.2) / count_tokens(groups)
    return -objective


REFERENCES: dict[str, Callable[[Members], Any]] = {
    "grpo": grpo_reference,
    "dr_grpo": dr_grpo_reference,
    "dapo": dapo_reference,
    "gspo": gspo_reference,
    "cispo": cispo_reference,
    "rloo": rloo_reference,
    "ppo": ppo_reference,
    "reinforce++": reinforce_plus_plus_reference,
}


# The same step as the toolkit sees it.


def hand_made_groups() -> list[Group]:
    """Prompts and completions of the given lengths, all tokens different from their neighbours."""
    groups = []
    for p, lengths in enumerate(LENGTHS):
        members = tuple(
            completion(
                tokens=[1 + (7 * p + 3 * g + 5 * t) % 47 for t in range(length)],
                index=g,
                finish_reason="length" if length == LONGEST else "stop",
            )
            for g, length in enumerate(lengths)
        )
        asked = problem(id=str(p))
        groups.append(Group(problem=asked, prompt=asked.prompt, prompt_ids=(3 + p, 4, 5), trajectories=members))
    return groups


@dataclass
class Fixed(LateScorer):
    """Scores groups as it was told."""

    results: Sequence[RewardResults]

    def score(self, groups: Sequence[Group], step: int) -> tuple[RewardResults, ...]:
        return tuple(self.results)


def results_of(rewards: Sequence[Sequence[float | None]]) -> list[RewardResults]:
    scores = [[Score.unscorable("-") if reward is None else Score(reward) for reward in row] for row in rewards]
    return [tuple(RewardResult(total=score, rewards={"r": score}) for score in row) for row in scores]


def ratio_at(p: int, g: int, t: int) -> float:
    return UNIFORM_RATIOS.get((p, g), RATIOS[(5 * p + 2 * g + t) % len(RATIOS)])


def values_at(p: int, g: int) -> list[float]:
    return [VALUES[(p + 3 * g + 2 * t) % len(VALUES)] for t in range(LENGTHS[p][g])]


def hand_made_values(samples: Sequence[TrainingSample]) -> list[Tensor]:
    """What the critic expects of all completions in their order."""
    places = [(p, g) for p in range(3) for g in range(4)]
    return [torch.tensor(values_at(*place)) for place, _ in zip(places, samples, strict=True)]


def toolkit_step(algorithm: AlgorithmSettings) -> Step:
    """From rewards to samples, as a run goes there, with old log-probabilities that give the ratios by hand."""
    groups = hand_made_groups()
    results = Fixed(results_of(REWARDS)).score(groups, 1)
    if algorithm.overlong_window is not None:
        results = OverlongPenalty(LONGEST, algorithm.overlong_window)(groups, results)
    scored_step = batch(groups, results)
    credit = Credit(estimator=named_arguments(ADVANTAGES[algorithm.advantage.name]), predict=hand_made_values)
    samples = credit.samples(scored_step, credit.estimate(scored_step))
    step = Step(samples)
    with torch.no_grad():
        for sample, (p, g) in zip(samples, [(p, g) for p in range(3) for g in range(4)], strict=True):
            shifts = torch.tensor([math.log(ratio_at(p, g, t)) for t in range(len(sample.token_ids))])
            step.old[sample] = exact_logprobs(even_llama(), sample) - shifts
    return step


def reference_gradient(reference: Callable[[Members], Any], step: Step) -> Tensor:
    """The gradient of a reference on the step's tokens."""
    model, samples = even_llama(), iter(step.samples)
    groups = []
    for p, row in enumerate(REWARDS):
        members = [next(samples) for _ in row]
        values = [values_at(p, g) for g in range(len(row))]
        news = [list(exact_logprobs(model, sample).unbind()) for sample in members]
        olds = [step.old[sample].tolist() for sample in members]
        groups.append([Member(*fields) for fields in zip(row, values, news, olds, strict=True)])
    parts = torch.autograd.grad(reference(groups), list(model.parameters()))
    return torch.cat([part.flatten() for part in parts])


@pytest.mark.parametrize("preset", PRESETS)
def test_the_gradient_of_a_preset_is_that_of_its_paper(preset: str) -> None:
    step = toolkit_step(run_config(algorithm=preset).algorithm)
    assert relative_error(gradient(step, preset), reference_gradient(REFERENCES[preset], step)) < 1e-5


def test_the_references_differ_from_one_another() -> None:
    """Numbers on which two presets agree would prove nothing of either."""
    found = [
        reference_gradient(REFERENCES[preset], toolkit_step(run_config(algorithm=preset).algorithm))
        for preset in PRESETS
    ]
    for number, one in enumerate(found):
        assert all(relative_error(one, other) > 1e-2 for other in found[:number])


# Losses by hand.


def loss_of(loss: Callable[..., Tensor], ratios: Sequence[float], advantages: Sequence[float], **limits: Any) -> Any:
    """Loss and gradient of each token, by the ratio to a policy of probability 1. Any: limits; two lists."""
    logprobs = torch.tensor(ratios).log().requires_grad_()
    given = {
        "logprobs_M": logprobs,
        "old_logprobs_M": torch.zeros(len(ratios)),
        "advantages_M": torch.tensor(advantages),
    }
    losses = named_arguments(loss)(**given, lengths_N=torch.tensor(limits.pop("lengths", [len(ratios)])), **limits)
    (slope,) = torch.autograd.grad(losses.sum(), logprobs)
    return losses.tolist(), slope.tolist()


def test_dual_clip_bounds_the_loss_of_a_bad_token_that_became_likely() -> None:
    losses, slopes = loss_of(
        clipped_surrogate, [5.0, 2.0, 5.0], [-1.0, -1.0, 1.0], clip_low=0.2, clip_high=0.2, dual_clip=3.0
    )
    # max(5, 1.2) = 5 is cut to 3; max(2, 1.2) = 2 is below it; a good token has the ordinary clip at 1.2.
    assert losses == pytest.approx([3.0, 2.0, -1.2])
    assert slopes == pytest.approx([0.0, 2.0, 0.0])


def test_cispo_keeps_the_gradient_of_every_token_and_caps_its_weight() -> None:
    _, slopes = loss_of(cispo, [0.1, 1.0, 9.0], [1.0, -2.0, 1.0], ratio_cap=5.0)
    assert slopes == pytest.approx([-0.1, 2.0, -5.0])


def test_policy_gradient_weighs_by_the_ratio_without_limit() -> None:
    losses, slopes = loss_of(policy_gradient, [0.1, 9.0], [1.0, -2.0])
    assert losses == slopes == pytest.approx([-0.1, 18.0])


def test_gspo_has_one_ratio_a_sequence() -> None:
    losses, slopes = loss_of(
        gspo, [2.0, 0.5, 2.0, 2.0], [1.0, 1.0, 1.0, 1.0], lengths=[2, 2], clip_low=0.2, clip_high=0.2
    )
    # The first sequence's geometric mean is 1, the second's is 2 and is clipped whole.
    assert losses == pytest.approx([-1.0, -1.0, -1.2, -1.2])
    assert slopes == pytest.approx([-1.0, -1.0, 0.0, 0.0])


@pytest.mark.parametrize("name", [*LOSSES])
def test_before_the_first_update_every_loss_is_reinforce(name: str) -> None:
    limits = {"clip_low": 0.2, "clip_high": 0.2} if name in ("clipped_surrogate", "gspo") else {}
    limits |= {"ratio_cap": 5.0} if name == "cispo" else {}
    _, slopes = loss_of(LOSSES[name], [1.0, 1.0, 1.0], [2.0, 2.0, 2.0], **limits)
    assert slopes == pytest.approx([-2.0, -2.0, -2.0])


# The entropy bonus.


def two_samples() -> list[TrainingSample]:
    """One that teaches and one that does not."""
    return [
        training_sample((3, 4, 5), (6, 7, 8), 0.5),
        training_sample((9, 4), (6,), 0.0),
    ]


def test_the_entropy_bonus_is_the_exact_entropy_under_the_temperature() -> None:
    samples, model = two_samples(), even_llama()
    entropies: list[Tensor] = []
    for sample in samples:
        ids = torch.tensor([[*sample.prompt_ids, *sample.token_ids]])
        logits = model(input_ids=ids).logits[0, len(sample.prompt_ids) - 1 : -1]
        for row in logits:
            probabilities = (row / TEMPERATURE).softmax(0)
            entropies.append(-(probabilities * probabilities.log()).sum())
    slope = torch.autograd.grad(torch.stack(entropies).sum() / 4, list(model.parameters()))  # token_mean over 4 tokens
    bonus = 0.3 * torch.cat([part.flatten() for part in slope])
    alone, with_bonus = (
        gradient(Step(samples), {"preset": "dapo", "entropy_coefficient": coefficient}) for coefficient in (0.0, 0.3)
    )
    assert relative_error(alone - bonus, with_bonus) < 1e-5
    assert relative_error(alone, with_bonus) > 0.01


def test_the_entropy_that_is_reported_is_the_mean_over_all_tokens() -> None:
    config = run_config(algorithm={"preset": "dapo", "entropy_coefficient": 0.3})
    measured = learner(config, kind=Recorder).update(two_samples())
    entropies = []
    for sample in two_samples():
        ids = torch.tensor([[*sample.prompt_ids, *sample.token_ids]])
        rows = even_llama()(input_ids=ids).logits[0, len(sample.prompt_ids) - 1 : -1].detach().log_softmax(-1)
        entropies += [float(-(row.exp() * row).sum()) for row in rows]
    assert measured["policy/entropy_exact"] == pytest.approx(fmean(entropies), rel=1e-5)


# Truncated importance weights: the learner's log-probabilities over the sampler's.


def weights_of(function: Callable[..., Tensor], ratios: Sequence[float], low: float, high: float, *lengths: int) -> Any:
    """The weights of tokens that the learner finds ``ratio`` times as likely. Any: a list."""
    log_ratios = torch.tensor(ratios).log()
    sampler = torch.full_like(log_ratios, -2.0)
    return function(sampler + log_ratios, sampler, torch.tensor(lengths or [len(ratios)]), low=low, high=high).tolist()


def test_token_weights_are_cut_one_by_one() -> None:
    assert weights_of(token_weights, [0.1, 1.0, 1.5, 9.0], 0.0, 2.0) == pytest.approx([0.1, 1.0, 1.5, 2.0])
    assert weights_of(token_weights, [0.1, 9.0], 0.5, 2.0) == pytest.approx([0.5, 2.0])


def test_sequence_weights_are_geometric_means() -> None:
    got = weights_of(sequence_weights, [4.0, 1.0, 27.0, 1.0, 1.0], 0.0, 2.5, 2, 3)
    assert got == pytest.approx([2.0, 2.0, 2.5, 2.5, 2.5])


def test_a_band_drops_what_is_outside_and_keeps_the_rest_as_it_is() -> None:
    assert weights_of(band_weights, [0.4, 0.6, 4.0, 6.0], 0.5, 5.0) == pytest.approx([0.0, 0.6, 4.0, 0.0])


@pytest.mark.parametrize("kind", ["token", "sequence", "band"])
def test_importance_weights_scale_the_loss_and_carry_no_gradient(kind: str) -> None:
    """A sample whose every token is 1.3 times as likely as the sampler said counts 1.3 times."""
    sample = two_samples()[0]
    logprobs = exact_logprobs(even_llama(), sample).detach()
    shifted = tuple((logprobs - math.log(1.3)).tolist())
    step = Step([replace(sample, sampler_logprobs=shifted)])
    plain = gradient(step, "grpo")
    assert relative_error(gradient(step, {"preset": "grpo", "importance": kind}), 1.3 * plain) < 1e-5


@pytest.mark.parametrize("preset", PRESETS)
def test_engines_with_weights_of_their_own_are_corrected_for_unless_the_run_file_says_no(preset: str) -> None:
    for engine in ("vllm", "vllm_server", "copies:copy_engine"):
        config = run_config(algorithm=preset, rollout={"engine": engine})
        method = config.method
        assert (method.importance, method.importance_low, method.importance_high) == ("token", 0.0, 2.0)
        assert "auto: token weights from 0 to 2" in config.algorithm.describe_importance(engine)
        off = run_config(algorithm={"preset": preset, "importance": "none"}, rollout={"engine": engine})
        assert off.method.importance == "none"
        assert "off: " in off.algorithm.describe_importance(engine)
    assert run_config(algorithm=preset).method.importance == "none"


def test_the_weights_of_an_engine_of_its_own_reach_the_update() -> None:
    sample = two_samples()[0]
    shifted = tuple((exact_logprobs(even_llama(), sample).detach() - math.log(1.3)).tolist())
    step = Step([replace(sample, sampler_logprobs=shifted)])
    plain, corrected = (gradient(step, "grpo", engine=engine) for engine in ("local", "vllm"))
    assert relative_error(corrected, 1.3 * plain) < 1e-5


def test_limits_beside_an_importance_that_is_decided_by_the_engine() -> None:
    high = {"preset": "grpo", "importance_high": 3.0}
    assert run_config(algorithm=high, rollout={"engine": "vllm"}).method.importance_high == 3.0
    with pytest.raises(ValueError, match="samples from the learner's own module"):
        run_config(algorithm=high)
    with pytest.raises(ValueError, match="not below importance_high"):
        run_config(algorithm={"preset": "grpo", "importance_low": 2.5}, rollout={"engine": "vllm"})


def test_a_fork_onto_another_engine_is_decided_anew() -> None:
    config = override_run(run_config(), ["rollout.engine=vllm"])
    assert config.method.importance == "token"
    assert override_run(config, ["rollout.engine=local"]).method.importance == "none"


def test_a_preset_a_run_file_and_a_plan_say_what_becomes_of_the_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert "# importance, engine vllm: auto: token weights from 0 to 2" in show_plugin("presets", "grpo")
    show_config("quickstart", ["rollout.engine=vllm"])
    show_config("quickstart", ["rollout.engine=vllm", "algorithm.importance=none"])
    show_config("quickstart", None)
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("# algorithm.importance: ")]
    assert ["token weights" in line for line in said] == [True, False, False]
    assert "importance is none" in said[1]


def test_recipes_for_a_gpu_sample_with_vllm() -> None:
    recipes = [load_any(entry.value) for entry in Plugins().entries("configs").values()]
    for_gpu = [recipe for recipe in recipes if "for a GPU" in recipe.description]
    assert len(for_gpu) >= 3
    for recipe in recipes:
        if isinstance(recipe, RunConfig):
            assert (recipe.rollout.engine.name == "vllm") == (recipe in for_gpu), recipe.name


def test_masked_tokens_stay_in_the_average_so_that_the_rest_does_not_count_for_more() -> None:
    """AReaL's functional.py: dividing by the tokens that are kept inflates the gradient by all / kept."""
    first, second = two_samples()
    close, far = (
        tuple((exact_logprobs(even_llama(), s).detach() + shift).tolist()) for s, shift in ((first, 0.0), (second, 5.0))
    )
    kept = replace(first, sampler_logprobs=close)
    masked = replace(second, sampler_logprobs=far, advantages_T=1.0)
    got = gradient(Step([kept, masked]), {"preset": "dapo", "importance": "band"})
    alone = gradient(Step([kept]), {"preset": "dapo", "importance": "band"})
    assert relative_error(got, alone * 3 / 4) < 1e-5
