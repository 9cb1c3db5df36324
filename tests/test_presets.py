"""Every preset against its paper's formula, written out in plain loops, on hand-made rewards, ratios and lengths.

What is compared is the gradient of a real model: rewards go through :class:`Credit`, samples through the learner,
so estimator, loss, limits and reduction are those a run has. The references know nothing of tensors but scalars.
"""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean
from typing import Any

import presets_learn
import pytest
import torch
from builders import LateScorer, batch, completion, problem, run_config, training_sample
from gradients import TEMPERATURE, Recorder, Step, even_llama, exact_logprobs, gradient, learner, relative_error
from preset_references import LONGEST, REFERENCES, Member, Members, dppo_kl_reference
from torch import Tensor

from reasonrl.algorithms.advantages import ADVANTAGES
from reasonrl.algorithms.importance import band_weights, sequence_weights, token_weights
from reasonrl.algorithms.losses import LOSSES, cispo, clipped_surrogate, gspo, policy_gradient
from reasonrl.algorithms.presets import PRESETS
from reasonrl.commands.config import show as show_config
from reasonrl.commands.plugins import show as show_plugin
from reasonrl.config.runfile import load_any, override_run
from reasonrl.config.settings import AlgorithmSettings, RunConfig
from reasonrl.config.stages import is_pipeline_file
from reasonrl.learner.credit import Credit
from reasonrl.plugins.lookup import Plugins, named_arguments
from reasonrl.run.method import require_fitting_estimator
from reasonrl.scoring.penalties import OverlongPenalty
from reasonrl.types import Group, RewardResult, RewardResults, Score, TrainingSample

REWARDS: list[list[float | None]] = [[1.0, 0.0, 0.0, 1.0], [0.25, 1.0, None, 0.5], [1.0, 1.0, 1.0, 1.0]]
"""Two groups that differ, one member without a score, one group in which all are right."""

LENGTHS = [[3, 1, 12, 4], [5, 4, 2, 11], [1, 2, 3, 1]]
"""Of 12 tokens at most: DAPO's overlong penalty begins after 9.6."""

RATIOS = [1.0, 1.5, 0.5, 1.1, 0.9, 7.0, 1.0, 0.78, 1.25]
"""Policy over old policy, token by token and over again: inside, above and below every preset's limits."""

UNIFORM_RATIOS = {(0, 0): 1.0003, (0, 1): 0.999, (1, 0): 0.9999, (1, 1): 1.001}
"""Members whose tokens have all the same ratio: just inside and just outside GSPO's narrow limits."""


SAMPLER_SHIFTS = {(0, 1): 0.8}
"""How much likelier than the old policy a member's tokens were for the sampler, in nats; others differ a little."""

METHODS: Mapping[str, Any] = {
    **{name: name for name in PRESETS},
    "dppo": {"preset": "dppo", "loss": {"params": {"threshold_low": 0.01, "threshold_high": 0.01}}},
    "dppo, KL": {
        "preset": "dppo",
        "loss": {"name": "dppo_kl", "params": {"threshold_low": 0.01, "threshold_high": 0.01}},
    },
    "pass_at_k": {"preset": "pass_at_k", "advantage": {"params": {"k": 2}}},
}
"""Every preset, with limits at which this step's small probabilities and groups are on either side. Any: settings."""

VALUES = [0.2, 0.6, -0.1, 0.4, 0.9]
"""What a critic expects, token by token and over again."""


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


def sampler_shift_at(p: int, g: int, t: int) -> float:
    return SAMPLER_SHIFTS.get((p, g), ((p + g + t) % 3 - 1) / 50)


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
    estimator = named_arguments(partial(ADVANTAGES[algorithm.advantage.name], **algorithm.advantage.params))
    credit = Credit(estimator=estimator, predict=hand_made_values)
    samples = credit.samples(scored_step, credit.estimate(scored_step))
    step = Step(samples)
    with torch.no_grad():
        for at, (p, g) in enumerate((p, g) for p in range(3) for g in range(4)):
            tokens = range(len(samples[at].token_ids))
            old_T = exact_logprobs(even_llama(), samples[at]) - torch.tensor(
                [math.log(ratio_at(p, g, t)) for t in tokens]
            )
            said = [value + sampler_shift_at(p, g, t) for t, value in enumerate(old_T.tolist())]
            samples[at] = replace(samples[at], sampler_logprobs=tuple(said))
            step.old[samples[at]] = old_T
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
        said = [list(sample.sampler_logprobs) for sample in members]
        groups.append([Member(*fields) for fields in zip(row, values, news, olds, said, strict=True)])
    parts = torch.autograd.grad(reference(groups), list(model.parameters()))
    return torch.cat([part.flatten() for part in parts])


@pytest.mark.parametrize("name", METHODS)
def test_the_gradient_of_a_preset_is_that_of_its_paper(name: str) -> None:
    step = toolkit_step(run_config(algorithm=METHODS[name]).algorithm)
    assert relative_error(gradient(step, METHODS[name]), reference_gradient(reference(name), step)) < 1e-6


def reference(name: str) -> Callable[[Members], Any]:
    """The slow reference of a method. Any: a scalar with a gradient."""
    return {**REFERENCES, "dppo, KL": dppo_kl_reference}[name]


def test_the_references_differ_from_one_another() -> None:
    """Numbers on which two presets agree would prove nothing of either."""
    found = [
        reference_gradient(reference(name), toolkit_step(run_config(algorithm=method).algorithm))
        for name, method in METHODS.items()
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
        "sampler_logprobs_M": torch.zeros(len(ratios)),
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


PRESET_OF = {run_config(algorithm=method).algorithm.loss.name: method for method in METHODS.values()}
"""A method with each loss."""


@pytest.mark.parametrize("name", [*LOSSES])
def test_before_the_first_update_every_loss_is_reinforce(name: str) -> None:
    limits = run_config(algorithm=PRESET_OF[name]).algorithm.loss.params
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
    files = [entry.value for entry in Plugins().entries("configs").values()]
    recipes = [load_any(file) for file in files if not is_pipeline_file(file)]
    for_gpu = [recipe for recipe in recipes if "for a GPU" in recipe.description]
    assert len(for_gpu) >= 3
    for recipe in recipes:
        if isinstance(recipe, RunConfig):
            assert (recipe.rollout.engine.name == "vllm") == (recipe in for_gpu), recipe.name


def test_the_benchmark_of_presets_gives_settings_that_a_run_can_have() -> None:
    quickstart = load_any(Plugins().entries("configs")["quickstart"].value)
    assert isinstance(quickstart, RunConfig)
    for name, settings in presets_learn.METHODS.items():
        config = override_run(quickstart, settings)
        assert config.algorithm.preset == name.removesuffix("_kl")
        require_fitting_estimator(config, Plugins())


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
