"""Small real models, tokenizers and records that several tests build."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from reasonrl.config import RewardRef, RunConfig, ScoringSettings
from reasonrl.engines import Arrived
from reasonrl.learner.logprobs import LogprobModel, output_head
from reasonrl.scoring import Scorer
from reasonrl.scoring.contract import Reward, bind
from reasonrl.types import Batch, Completion, Group, Problem, RewardFn, Rollout, TrainingSample, Verdicts

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


def logprob_model(model: PreTrainedModel) -> LogprobModel:
    """A model that says the log-probabilities of completions, at temperature 1."""
    return LogprobModel(model, output_head(model), torch.float32, 1.0)


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


def scorer(*rewards: Reward | RewardFn, **settings: Any) -> Scorer:
    """What scores with these rewards. Any: settings of ``scoring``."""
    bound = [one if isinstance(one, Reward) else reward(one) for one in rewards]
    return Scorer(bound, ScoringSettings(**settings))


def untimed(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line of metrics without what a clock decides. Any: JSON values."""
    timed = ("seconds/", "tokens_per_second/", "wall")
    return {name: value for name, value in line.items() if not (name.startswith(timed) or name.endswith("_s"))}


class WeightlessEngine:
    """The part of an engine that has nothing to do where completions come from no model."""

    policy_version = 0
    shares_weights = True

    def load(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        self.policy_version = version

    def abort(self) -> None:
        pass

    def sleep(self) -> None:
        pass

    def close(self) -> None:
        pass


def told(sampled: list[tuple[Completion, ...]], arrived: Arrived | None) -> list[tuple[Completion, ...]]:
    """What was sampled, after whoever asks for it was told of every completion, the last one first."""
    for index, members in reversed(list(enumerate(sampled))):
        for member in reversed(members if arrived else ()):
            assert arrived is not None
            arrived(index, member)
    return sampled


class LateGrader:
    """The part of a grader that has nothing to do where nothing is begun early."""

    def start(self, rollout: Rollout, step: int) -> None:
        pass

    def start_group(self, group: Group, step: int) -> None:
        pass


def problem(text: str = "1 + 1?", answer: str = "2", **changes: Any) -> Problem:
    """A problem. Any: fields of Problem."""
    return Problem(**{"id": text, "task": "test", "prompt": text, "answer": answer, **changes})


def completion(text: str = "2", *, tokens: Sequence[int] = (1, 0), index: int = 0, **changes: Any) -> Completion:
    """A finished completion. Any: fields of Completion."""
    fields: dict[str, Any] = {
        "token_ids": tuple(tokens),
        "text": text,
        "logprobs": tuple(-1.0 for _ in tokens),
        "finish_reason": "stop",
        "policy_version": 0,
        "sample_index": index,
        "seed": index,
    }
    return Completion(**{**fields, **changes})


def group(texts: Sequence[str], **changes: Any) -> Group:
    """One problem with a completion for each text. Any: fields of Problem."""
    asked = problem(**changes)
    members = tuple(completion(text, index=index) for index, text in enumerate(texts))
    return Group(problem=asked, prompt=asked.prompt, prompt_ids=(1, 2), completions=members)


def batch(groups: Sequence[Group], verdicts: Sequence[Verdicts], *, step: int = 1, **changes: Any) -> Batch:
    """A step of these groups. Any: fields of Batch."""
    seconds = {"sampling": 1.0, "scoring": 0.5}
    fields: dict[str, Any] = {"position": step * len(groups), "seconds": seconds, **changes}
    return Batch(step=step, groups=tuple(groups), verdicts=tuple(verdicts), **fields)


def training_samples(count: int = 6, *, seed: int = 0) -> list[TrainingSample]:
    """Samples of various lengths with various advantages, some of them exactly 0."""
    generator = torch.Generator().manual_seed(seed)

    def tokens(longest: int) -> tuple[int, ...]:
        length = int(torch.randint(1, longest + 1, (1,), generator=generator))
        return tuple(torch.randint(1, len(VOCABULARY), (length,), generator=generator).tolist())

    samples = []
    for number in range(count):
        completed = tokens(9)
        advantage = 0.0 if number % 3 == 2 else float(torch.randn(1, generator=generator))
        samples.append(
            TrainingSample(
                prompt_ids=tokens(7),
                completion_ids=completed,
                sampler_logprobs=tuple(-1.0 for _ in completed),
                advantage=advantage,
            )
        )
    return samples
