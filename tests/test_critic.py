"""A policy and its critic: the value loss, what is learned and what is not, where a critic comes from and goes on."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import copy
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from builders import VOCABULARY, letter_tokenizer, policy_learner, run_config, small_llama, training_sample
from gradients import Recorder, relative_error
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from reasonrl import ConfigError, ModelError, RunError
from reasonrl.config.settings import RunConfig
from reasonrl.learner.critic import ActorCritic, Critic, ValueModel, ValueObjective, value_head
from reasonrl.learner.rng import save_rng
from reasonrl.learner.strategies import SINGLE
from reasonrl.models.load import load_classifier, load_tokenizer
from reasonrl.plugins.lookup import Plugins
from reasonrl.preference.card import HeadScale, RewardModelCard, TemplateCard, write_card
from reasonrl.run.build import RunComponents, build_components
from reasonrl.run.critic import build_critic, critic_source
from reasonrl.run.inputs import load_inputs
from reasonrl.types import TrainingSample

few = settings(max_examples=8, deadline=None, derandomize=True, phases=[Phase.generate])
CPU = torch.device("cpu")
FEW = {"name": "arithmetic", "params": {"num_problems": 20}}
"""A task that is loaded at once."""


def classifier(*, seed: int = 0) -> PreTrainedModel:
    """A small random model with one score."""
    backbone = small_llama(seed=seed)
    config = copy.deepcopy(backbone.config)
    config.num_labels = 1
    model = AutoModelForSequenceClassification.from_config(config)
    model.model.load_state_dict(backbone.model.state_dict())
    with torch.no_grad():  # even weights: those of small_llama cost a digit
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(0.25)
    return model.eval()


def value_model(*, seed: int = 0) -> ValueModel:
    return ValueModel(classifier(seed=seed), torch.float32)


def critic_learner(values: ValueModel, *, clip: float | None = 0.2, **changes: Any) -> Critic:
    """A critic that learns. Any: settings of the learner."""
    return Critic(values, run_config(learner=changes).learner, clip=clip, num_steps=100)


def random_samples(count: int, seed: int = 0) -> list[TrainingSample]:
    """Samples of one or several turns with values and returns; a few have no score, and one is masked."""
    random = Random(seed)

    def tokens(longest: int) -> tuple[int, ...]:
        return tuple(random.randrange(len(VOCABULARY)) for _ in range(random.randint(1, longest)))

    prompts, samples = [tokens(7) for _ in range(3)], []
    for number in range(count):
        said = tokens(9)
        chosen = random.randrange(len(said))
        mask = tuple(index == chosen or random.random() < 0.7 for index in range(len(said)))
        drawn = [tuple(random.gauss(0, 1) for _ in said) for _ in range(2)]
        samples.append(
            training_sample(
                random.choice(prompts),
                said,
                random.gauss(0, 1),
                mask=mask,
                masked=number == 1,
                values_T=drawn[0],
                returns_T=drawn[1] if number % 5 != 4 else (),
            )
        )
    return samples


def exact_values(model: PreTrainedModel, sample: TrainingSample) -> Tensor:
    """The values before the tokens that were chosen, by one plain forward pass over the sample alone."""
    ids = torch.tensor([[*sample.prompt_ids, *sample.token_ids]])
    states = model.base_model(input_ids=ids).last_hidden_state[0, len(sample.prompt_ids) - 1 : -1]
    return value_head(model)(states)[:, 0][torch.tensor(sample.mask)]


def plain_loss(model: PreTrainedModel, samples: Sequence[TrainingSample], clip: float | None) -> Tensor:
    """The loss written out token by token."""
    terms = []
    for sample in samples:
        if not sample.returns_T or sample.masked:
            continue
        mask = torch.tensor(sample.mask)
        old, wanted = (torch.tensor(column)[mask] for column in (sample.values_T, sample.returns_T))
        for value, before, target in zip(exact_values(model, sample), old, wanted, strict=True):
            error = (value - target) ** 2
            if clip is not None:
                error = torch.maximum(error, (value.clamp(before - clip, before + clip) - target) ** 2)
            terms.append(error / 2)
    return torch.stack(terms).mean()


class RecordingCritic(Recorder, Critic):
    """Notes the gradient in place of moving the weights."""


def recorded(values: ValueModel, samples: Sequence[TrainingSample], clip: float | None, **changes: Any) -> Tensor:
    """The gradient of one update. Any: settings of the learner."""
    one = RecordingCritic(values, run_config(learner=changes).learner, clip=clip, num_steps=10)
    one.update(samples)
    return one.gradient


@few
@given(seed=st.integers(0, 1000), tokens=st.integers(1, 200), clip=st.none() | st.floats(0.05, 1.0))
def test_the_gradient_of_the_critic_is_that_of_plain_torch_however_it_is_cut(
    seed: int, tokens: int, clip: float | None
) -> None:
    values, samples = value_model(), random_samples(8, seed)
    got = recorded(values, samples, clip, microbatch_tokens=tokens)
    slopes = torch.autograd.grad(plain_loss(values.model, samples, clip), list(values.model.parameters()))
    assert relative_error(got, torch.cat([slope.flatten() for slope in slopes])) < 1e-5
    whole = recorded(values, samples, clip)
    assert relative_error(got, whole) < 1e-5


def test_what_the_critic_says_of_samples_is_the_state_before_each_chosen_token() -> None:
    values, samples = value_model(), random_samples(7, 3)
    for budget in (1, 10_000):
        found = values.of_samples(samples, max_tokens=budget)
        for sample, values_T in zip(samples, found, strict=True):
            assert torch.allclose(values_T, exact_values(values.model, sample), atol=1e-5)


def test_a_value_that_has_moved_away_from_its_target_is_clipped_by_hand() -> None:
    """Old 0, now v: v = 0.5 towards 1 is held at 0.2, v = 0.5 away from -1 is not, v = 0.1 is inside."""
    values = value_model()
    samples = random_samples(1, 2)
    (values_T,) = values.of_samples(samples, max_tokens=100)
    now = float(values_T[0])
    place = samples[0].mask.index(True)

    def measured(old: float, target: float) -> dict[str, float]:
        one = training_sample(
            samples[0].prompt_ids,
            samples[0].token_ids[: place + 1],
            values_T=(old,) * (place + 1),
            returns_T=(target,) * (place + 1),
            mask=(*(False for _ in range(place)), True),
        )
        return critic_learner(values, learning_rate=0.0).update([one])

    towards, away, inside = measured(now - 0.5, now + 0.5), measured(now + 0.5, now + 1.0), measured(now - 0.1, now)
    # Held at old + 0.2 = now - 0.3, the error is 0.8; held at old - 0.2 = now + 0.3, it would be 0.7, less than 1.
    assert towards["value/loss"] == pytest.approx(0.8**2 / 2, rel=1e-4)
    assert away["value/loss"] == pytest.approx(1.0**2 / 2, rel=1e-4)
    assert inside["value/loss"] == pytest.approx(0.0, abs=1e-8)
    assert (towards["value/clipped"], away["value/clipped"], inside["value/clipped"]) == (1.0, 0.0, 0.0)
    assert towards["value/mean"] == pytest.approx(now, rel=1e-4)


def sums(seed: int, values: ValueModel) -> list[TrainingSample]:
    """Completions whose reward to come is the share of 7s in the prompt, with what a critic expects of them."""
    random, samples = Random(seed), []
    for _ in range(32):
        prompt = tuple(random.choice((3, 8)) for _ in range(4))
        said = tuple(random.randrange(1, 9) for _ in range(random.randint(2, 6)))
        samples.append(training_sample(prompt, said, returns_T=(prompt.count(8) / 4,) * len(said)))
    expected = values.of_samples(samples, max_tokens=10_000)
    return [
        training_sample(s.prompt_ids, s.token_ids, returns_T=s.returns_T, values_T=tuple(values_T.tolist()))
        for s, values_T in zip(samples, expected, strict=True)
    ]


def actor_critic(config: RunConfig, values: ValueModel, model: PreTrainedModel, pretrain_steps: int) -> ActorCritic:
    critic = Critic(values, config.learner, clip=None, num_steps=100)
    return ActorCritic(policy_learner(model, config), critic, pretrain_steps=pretrain_steps)


def test_a_critic_learns_to_expect_the_reward_and_the_policy_waits_for_it() -> None:
    model, values = small_llama(), value_model()
    config = run_config(algorithm="ppo", learner={"learning_rate": 3e-3})
    both, before = actor_critic(config, values, model, 30), copy.deepcopy(model.state_dict())
    measured = [both.update(sums(step, values)) for step in range(30)]
    explained = [step["value/explained_variance"] for step in measured]
    assert explained[0] < 0.2
    assert explained[-1] > 0.8
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert both.policy_version == 0
    assert "policy/loss" not in measured[-1]
    assert measured[-1]["value/learning_rate"] == 3e-3
    advised = [training_sample(s.prompt_ids, s.token_ids, 1.0, returns_T=s.returns_T, values_T=s.values_T)
               for s in sums(99, values)]  # fmt: skip
    assert both.update(advised).keys() >= {"policy/loss", "value/loss"}
    assert both.policy_version == 1
    assert not all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_run_without_returns_leaves_the_critic_as_it_is() -> None:
    values = value_model()
    before = copy.deepcopy(values.model.state_dict())
    measured = critic_learner(values, learning_rate=0.1).update([training_sample((3,), (4, 5), 1.0)])
    assert all(torch.equal(value, before[name]) for name, value in values.model.state_dict().items())
    assert "value/loss" not in measured


def test_explained_variance_is_that_of_what_was_expected_before_the_step() -> None:
    samples = [
        training_sample((3,), (4, 5), values_T=(0.0, 9.0), returns_T=(0.0, 9.0), mask=(True, False)),
        training_sample((3,), (4,), values_T=(0.5,), returns_T=(1.0,)),
        training_sample((3,), (4,), values_T=(7.0,), returns_T=()),
    ]
    both = actor_critic(run_config(algorithm="ppo"), value_model(), small_llama(), 1)
    # Errors 0 and 0.5 have variance 1/16, returns 0 and 1 have 1/4; the second token and the third sample do not count.
    assert both.update(samples)["value/explained_variance"] == pytest.approx(0.75)


# Where a critic comes from.


def built(config: RunConfig, **where: Any) -> Critic:
    """The critic of a run. Any: a checkpoint."""
    return build_critic(
        config,
        load_tokenizer(config.model.name),
        CPU,
        torch.float32,
        **{"checkpoint": None, "rate_factor": 1.0, "strategy": SINGLE, **where},
    )


def ppo(**changes: Any) -> RunConfig:
    """A small PPO run. Any: settings."""
    return run_config(task=FEW, algorithm="ppo", **changes)


def reward_model(folder: Path, *, num_labels: int = 1) -> Path:
    """A reward model on the tiny model, as it is saved."""
    load_classifier("tiny", CPU, num_labels=num_labels).save_pretrained(folder)
    load_tokenizer("tiny").save_pretrained(folder)
    return folder


def test_a_critic_that_starts_from_the_policy_expects_nothing_yet() -> None:
    critic = built(ppo())
    found = critic.predict([training_sample((3, 4), (5, 6, 0))])
    assert found[0].tolist() == [0.0, 0.0, 0.0]


def test_a_critic_starts_from_a_reward_model_with_its_head(tmp_path: Path) -> None:
    folder = reward_model(tmp_path / "rm")
    critic = built(ppo(critic={"init": str(folder)}))
    kept = load_classifier(str(folder), CPU, num_labels=1).state_dict()
    assert all(torch.equal(value, kept[name]) for name, value in critic.model.state_dict().items())
    assert kept["score.weight"].any()


def test_a_run_of_a_reward_model_stands_for_the_model_in_it(tmp_path: Path) -> None:
    folder = reward_model(tmp_path / "run" / "model")
    template = TemplateCard(name="plain", text="{{ prompt }}", chat=False)
    scale = HeadScale(mean=0.0, std=1.0, p999=3.0)
    write_card(
        folder,
        RewardModelCard(
            kind="bradley_terry",
            num_heads=1,
            template=template,
            max_length=64,
            too_long="drop",
            scales=(scale,),
            base_model="tiny",
        ),
    )
    assert critic_source(ppo(critic={"init": str(tmp_path / "run")})) == str(folder)
    with pytest.raises(ModelError, match="is not a reward model"):
        critic_source(ppo(critic={"init": str(tmp_path)}))


def test_a_critic_needs_one_score_and_the_policys_tokens(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="4 labels"):
        built(ppo(critic={"init": str(reward_model(tmp_path / "four", num_labels=4))}))
    other = tmp_path / "other"
    classifier().save_pretrained(other)
    letter_tokenizer().save_pretrained(other)
    with pytest.raises(ModelError, match="another tokenizer than the policy"):
        built(ppo(critic={"init": str(other)}))
    with pytest.raises(ModelError, match="there is no folder"):
        built(ppo(critic={"init": "./nowhere"}))


def components_of(config: RunConfig, **where: Any) -> RunComponents:
    """What a run is made of. Any: a checkpoint."""
    plugins = Plugins()
    return build_components(config, load_inputs(config, plugins), plugins, **where)


def test_a_fork_starts_from_the_critic_that_stands_beside_its_policy(tmp_path: Path) -> None:
    components = components_of(ppo())
    components.close()
    assert components.critic is not None
    with torch.no_grad():
        value_head(components.critic.model).weight.fill_(0.5)
    components.learner.save_state(tmp_path)
    components.tokenizer.save_pretrained(tmp_path)
    fork = ppo(model=str(tmp_path))
    assert critic_source(fork) == str(tmp_path / "critic")
    assert (value_head(built(fork).model).weight == 0.5).all()
    assert critic_source(ppo(model=str(tmp_path), critic={"init": "tiny"})).endswith("tiny")


def test_the_critic_of_an_adapter_starts_from_the_model_below_it() -> None:
    components = components_of(ppo(model={"name": "tiny", "lora": {"rank": 2}}))
    components.close()
    assert components.critic is not None
    assert all(parameter.requires_grad for parameter in components.critic.model.parameters())


def test_policy_and_critic_go_on_bit_for_bit(tmp_path: Path) -> None:
    config = ppo(learner={"learning_rate": 3e-3, "minibatch_sequences": 8, "epochs": 2})
    straight = components_of(config)
    straight.close()
    straight.learner.update(random_samples(16, 0))
    straight.learner.save_state(tmp_path)
    straight.tokenizer.save_pretrained(tmp_path)
    save_rng(tmp_path)
    resumed = components_of(config, checkpoint=tmp_path)
    resumed.close()
    states = []
    for components in (straight, resumed):
        assert components.critic is not None
        components.learner.update(random_samples(16, 1))
        assert components.critic.steps_taken == 2
        policy, critic = components.learner.model, components.critic.model
        states.append({**policy.state_dict(), **critic.state_dict(prefix="critic.")})
    assert all(torch.equal(value, states[0][name]) for name, value in states[1].items())


def test_a_checkpoint_without_its_critic_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="lacks critic/"):
        built(ppo(), checkpoint=tmp_path)


# What would be ignored.


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"algorithm": "grpo", "critic": {"learning_rate": 1e-4}}, "critic: has settings, but .* 'group_normalized'"),
        (
            {"algorithm": "rloo", "rollout": {"samples_per_prompt": 1}},
            "rollout.samples_per_prompt: is 1, but .* 'leave_one_out': use 2 or more",
        ),
    ],
)
def test_settings_that_do_not_go_with_the_estimator_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_inputs(run_config(**changes), Plugins())


@pytest.mark.parametrize("algorithm", ["ppo", "reinforce++"])
def test_single_completions_are_enough_where_nothing_compares_siblings(algorithm: str) -> None:
    load_inputs(run_config(task=FEW, algorithm=algorithm, rollout={"samples_per_prompt": 1}), Plugins())


def test_the_value_objective_is_an_objective() -> None:
    objective = ValueObjective(model=value_model(), clip=None)
    assert (objective.name, objective.rows_per_unit, dict(objective.state())) == ("value", 1, {})
