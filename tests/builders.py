"""Small real models, tokenizers and records that several tests build."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from reasonrl.config.settings import RewardRef, RunConfig, ScoringSettings
from reasonrl.engines import Engine, Request, SamplingParams
from reasonrl.engines.batch import run_sampling
from reasonrl.learner import Learner, logprobs
from reasonrl.learner.controller import EntropyController, KLController
from reasonrl.learner.logprobs import LogprobModel
from reasonrl.learner.objectives import PolicyObjective
from reasonrl.models.compute import Compute
from reasonrl.plugins.lookup import installed_plugins
from reasonrl.plugins.types import RewardFn
from reasonrl.rollout.environment import Environment, SingleTurn
from reasonrl.rollout.groups import GroupSampler
from reasonrl.rollout.order import DataOrder
from reasonrl.rollout.sampler import RolloutSampler
from reasonrl.rollout.templates import Renderer
from reasonrl.scoring import RewardScorer
from reasonrl.scoring.contract import Reward, bind
from reasonrl.types import (
    Advantage,
    Batch,
    Group,
    Problem,
    RewardResults,
    Rollout,
    Scorer,
    TrainingSample,
    Trajectory,
    UnusedGroup,
)

VOCABULARY = ["<end>", *"0123456789abcdefghijklmnopqrstuvwxyz +-*/=().,?:"]


def small_llama(*, seed: int = 0, layers: int = 2, tied: bool = True, **changes: Any) -> LlamaForCausalLM:
    """A random Llama of a few thousand parameters. Any: whatever its configuration takes."""
    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        "vocab_size": len(VOCABULARY),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "tie_word_embeddings": tied,
        "bos_token_id": None,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }
    model = LlamaForCausalLM(LlamaConfig(**{**settings, **changes}))
    # Spread-out weights: a freshly made model is almost uniform, which hides mistakes.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(8)
    return model.eval()


def logprob_model(model: PreTrainedModel, temperature: float = 1.0, *, fast: bool = True) -> LogprobModel:
    """A model that computes log-probabilities as a run's does, on the fast path where it can."""
    return logprobs.logprob_model(model, Compute(fast=fast), temperature)


def policy_learner(
    model: PreTrainedModel,
    config: RunConfig,
    *,
    loss: Callable[..., torch.Tensor] | None = None,
    reference: LogprobModel | None = None,
    controller: KLController | None = None,
    kind: type[Learner] = Learner,
) -> Any:
    """What a run of these settings learns with. Any: a learner of the kind that is asked for.

    Args:
        model: the policy.
        config: the run.
        loss: to use in place of the run's.
        reference: the initial policy; None leaves the divergence out of the loss.
        controller: the weight of the divergence; None has one of its own.
        kind: class of the learner.
    """
    algorithm = config.method
    objective = PolicyObjective(
        algorithm=algorithm,
        loss=loss or installed_plugins().function("losses", algorithm.loss),
        policy=logprob_model(model, config.rollout.temperature, fast=config.model.fast_path),
        max_new_tokens=config.rollout.max_new_tokens,
        controller=controller or KLController(algorithm),
        entropy=EntropyController(algorithm),
        reference=reference,
    )
    return kind(model, objective, config.learner, num_steps=config.run.steps)


def single_turn(config: RunConfig) -> SingleTurn:
    """The environment of a run of these settings."""
    return SingleTurn(
        renderer=Renderer(letter_tokenizer(), installed_plugins().template(config.template)),
        params=SamplingParams(max_new_tokens=config.rollout.max_new_tokens, temperature=config.rollout.temperature),
    )


def rollout_sampler(
    config: RunConfig,
    engine: Engine,
    scorer: Scorer,
    order: DataOrder,
    *,
    environment: Environment | None = None,
    seed: int = 0,
) -> RolloutSampler:
    """What samples and scores the steps of a run of these settings, with one turn if nothing else is said."""
    settings = config.rollout
    return RolloutSampler(
        order=order,
        groups=GroupSampler(environment=environment or single_turn(config), engine=engine),
        scorer=scorer,
        prompts_per_step=settings.prompts_per_step,
        samples_per_prompt=settings.samples_per_prompt,
        refill_attempts=config.algorithm.refill_attempts,
        seed=seed,
    )


def letter_tokenizer() -> PreTrainedTokenizerFast:
    """One token a character."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(VOCABULARY)}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>")


def run_config(**changes: Any) -> RunConfig:
    """A small run that starts no processes; changes replace whole groups. Any: whatever a run file may say."""
    settings: dict[str, Any] = {
        "name": "test",
        "model": "tiny",
        "task": "arithmetic",
        "template": "plain",
        "rewards": [{"name": "numeric_answer", "isolated": False}],
        "algorithm": "grpo",
        "rollout": {"prompts_per_step": 4, "samples_per_prompt": 4, "max_new_tokens": 12},
        "run": {"steps": 3},
    }
    return RunConfig.model_validate({**settings, **changes})


def reward(function: RewardFn, *, name: str = "r", **settings: Any) -> Reward:
    """A reward that runs in this process, so that it may be any function. Any: settings of a run file."""
    return bind(RewardRef(name=name, **{"isolated": False, **settings}), function)


def scorer(*rewards: Reward | RewardFn, **settings: Any) -> RewardScorer:
    """What scores with these rewards. Any: settings of ``scoring``."""
    bound = [one if isinstance(one, Reward) else reward(one) for one in rewards]
    return RewardScorer(bound, ScoringSettings(**settings))


def untimed(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line of metrics without what a clock decides. Any: JSON values."""
    timed = ("seconds/", "tokens_per_second/", "wall")
    return {name: value for name, value in line.items() if not (name.startswith(timed) or name.endswith("_s"))}


def come_one_by_one(engine: Engine, requests: Sequence[Request], turns: int) -> list[Trajectory]:
    """Sample requests of which each comes some tokens after the one before."""

    async def work() -> list[Trajectory]:
        tasks = []
        for request in requests:
            tasks.append(asyncio.create_task(engine.generate(request)))
            for _ in range(turns):
                await asyncio.sleep(0)
        return await asyncio.gather(*tasks)

    return run_sampling(work(), engine)


class WeightlessEngine:
    """The part of an engine that has nothing to do where completions come from no model."""

    policy_version = 0
    shares_weights = True
    loads_while_sampling = False

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        self.policy_version = version

    def abort(self) -> None:
        pass

    def sleep(self) -> None:
        pass

    def close(self) -> None:
        pass


class LateScorer:
    """The part of a scorer that has nothing to do where nothing is begun early."""

    def submit_rollout(self, rollout: Rollout, step: int) -> None:
        pass

    def submit_group(self, group: Group, step: int) -> None:
        pass


def problem(text: str = "1 + 1?", answer: str = "2", **changes: Any) -> Problem:
    """A problem. Any: fields of Problem."""
    return Problem(**{"id": text, "task": "test", "prompt": text, "answer": answer, **changes})


def completion(text: str = "2", *, tokens: Sequence[int] = (1, 0), index: int = 0, **changes: Any) -> Trajectory:
    """A finished completion. Any: fields of Trajectory."""
    fields: dict[str, Any] = {
        "token_ids": tuple(tokens),
        "text": text,
        "logprobs": tuple(-1.0 for _ in tokens),
        "finish_reason": "stop",
        "policy_version": 0,
        "sample_index": index,
        "seed": index,
    }
    return Trajectory.single_turn(**{**fields, **changes})


def group(texts: Sequence[str], **changes: Any) -> Group:
    """One problem with a completion for each text. Any: fields of Problem."""
    asked = problem(**changes)
    members = tuple(completion(text, index=index) for index, text in enumerate(texts))
    return Group(problem=asked, prompt=asked.prompt, prompt_ids=(1, 2), trajectories=members)


def unused(pairs: Iterable[tuple[Group, RewardResults]], reason: Any = "no_signal") -> tuple[UnusedGroup, ...]:
    """Groups that are not learned from. Any: a reason of UnusedGroup."""
    return tuple(UnusedGroup(group=group, results=results, reason=reason) for group, results in pairs)


def batch(groups: Sequence[Group], results: Sequence[RewardResults], *, step: int = 1, **changes: Any) -> Batch:
    """A step of these groups. Any: fields of Batch."""
    seconds = {"sampling": 1.0, "scoring": 0.5}
    fields: dict[str, Any] = {"position": step * len(groups), "seconds": seconds, **changes}
    return Batch(step=step, groups=tuple(groups), results=tuple(results), **fields)


def training_sample(
    prompt_ids: Sequence[int], token_ids: Sequence[int], advantage: Advantage = 0.0, **changes: Any
) -> TrainingSample:
    """A sample whose tokens the policy chose, if nothing else is said. Any: fields of TrainingSample."""
    fields: dict[str, Any] = {
        "sampler_logprobs": (-1.0,) * len(token_ids),
        "mask": (True,) * len(token_ids),
        "advantages_T": advantage,
        **changes,
    }
    return TrainingSample(prompt_ids=tuple(prompt_ids), token_ids=tuple(token_ids), **fields)


def training_samples(count: int = 6, *, seed: int = 0) -> list[TrainingSample]:
    """Samples of various lengths with various advantages, some of them exactly 0."""
    generator = torch.Generator().manual_seed(seed)

    def tokens(longest: int) -> tuple[int, ...]:
        length = int(torch.randint(1, longest + 1, (1,), generator=generator))
        return tuple(torch.randint(1, len(VOCABULARY), (length,), generator=generator).tolist())

    samples = []
    for number in range(count):
        sampled = tokens(9)
        advantage = 0.0 if number % 3 == 2 else float(torch.randn(1, generator=generator))
        samples.append(training_sample(tokens(7), sampled, advantage))
    return samples
