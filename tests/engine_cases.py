"""What the conformance suite asks: every engine, each with the transformers model whose weights it has."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from builders import letter_tokenizer, small_llama
from torch import nn
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from reasonrl.config.settings import VLLMSettings
from reasonrl.engines import Engine, EngineInputs, Request, SamplingParams, builtin
from reasonrl.engines.batch import Finished, sample_all
from reasonrl.engines.local import LocalEngine
from reasonrl.models.compute import Compute
from reasonrl.types import Trajectory

os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
"""Else vLLM compiles a small kernel in every process at its first log-probability, which takes seconds."""

PROMPTS = ((3, 4, 5), (7, 8, 9, 10, 11, 12, 13), (20,))

LONG_PROMPT = tuple(1 + 5 * place % 46 for place in range(100))
"""Longer than a block of vLLM's prefix cache, which keeps whole blocks only."""

END_IDS = [0, 9]
"""As in a model that names two, one of them an ordinary character."""


@dataclass(frozen=True)
class Asked:
    """A prompt, to be completed once for each seed."""

    prompt_ids: tuple[int, ...]
    seeds: tuple[int, ...]

    def requests(self, params: SamplingParams) -> list[Request]:
        return [
            Request(prompt_ids=self.prompt_ids, seed=seed, sample_index=index, params=params)
            for index, seed in enumerate(self.seeds)
        ]


def requests(num_samples: int = 3, prompts: Sequence[tuple[int, ...]] = PROMPTS) -> list[Asked]:
    """Ask for as many completions of every prompt, each with a seed of its own."""
    return [Asked(prompt, tuple(range(100 * i, 100 * i + num_samples))) for i, prompt in enumerate(prompts)]


def sample(
    engine: Engine,
    asked: Sequence[Asked],
    *,
    timeout_s: float | None = None,
    finished: Finished | None = None,
    **params: Any,
) -> list[tuple[Trajectory, ...]]:
    """The completions of each prompt; ``finished`` is told the position of the prompt. Any: ``SamplingParams``."""
    every = [request for one in asked for request in one.requests(SamplingParams(**params))]
    prompt_of = [position for position, one in enumerate(asked) for _ in one.seeds]
    tell = finished and (lambda position, one: finished(prompt_of[position], one))
    completions = iter(sample_all(engine, every, timeout_s=timeout_s, finished=tell))
    return [tuple(islice(completions, len(one.seeds))) for one in asked]


def exact_logprobs(model: Any, prompt: tuple[int, ...], completion: Trajectory, temperature: float) -> torch.Tensor:
    """What the model says of the sampled tokens, in one plain forward pass. Any: a transformers model."""
    ids = torch.tensor([[*prompt, *completion.token_ids]], device=model.device)
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].cpu() / (temperature or 1.0)
    return logits.log_softmax(-1).gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]


def greedy(model: Any, prompt: tuple[int, ...], max_new_tokens: int) -> tuple[int, ...]:
    """What transformers decodes greedily. Any: a transformers model."""
    ids = torch.tensor([prompt], device=model.device)
    mask = torch.ones_like(ids)
    ids = model.generate(ids, attention_mask=mask, max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=0)
    return tuple(ids[0, len(prompt) :].tolist())


SETTINGS = VLLMSettings(cpu_kv_cache_gib=0.125, max_num_seqs=64)
"""A small engine."""


def engine_inputs(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, settings: VLLMSettings = SETTINGS, **changes: Any
) -> EngineInputs:
    """What an engine for all of a model's weights is made from. Any: other fields."""
    fields = {
        "compute": Compute(),
        "device": model.device,
        "weight_names": frozenset(name for name, _ in model.named_parameters()),
        "vllm": settings,
    }
    return EngineInputs(model=model, tokenizer=tokenizer, **{**fields, **changes})


def start(kind: str, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, **settings: Any) -> Engine:
    """Start an engine of a kind. Any: settings of vLLM."""
    if kind == "local_on_gpu":
        kind, model = "local", nn.Module.to(model, "cuda")
    make: Callable[[EngineInputs], Engine] = getattr(builtin, kind)
    return make(engine_inputs(model, tokenizer, SETTINGS.model_copy(update=settings)))


KINDS = ("local", "local_on_gpu", "vllm", "vllm_server")
"""The engines by ``rollout.engine``; the embedded one also on a GPU."""


def model_for_engines(*, tied: bool = True, positions: int = 256) -> LlamaForCausalLM:
    """A random model whose heads are of a size that vLLM knows (32)."""
    shape = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}
    model = small_llama(tied=tied, max_position_embeddings=positions, **shape)
    model.config.architectures = ["LlamaForCausalLM"]
    model.generation_config.eos_token_id = END_IDS
    return model


class Subject:
    """An engine under test.

    Args:
        kind: one of ``KINDS``.
        tied: whether the model's output head is its embedding.
        positions: of the model.
        settings: of vLLM, other than the usual ones.
    """

    def __init__(self, kind: str, *, tied: bool, positions: int = 256, **settings: Any) -> None:
        """Start it. Any: settings of vLLM."""
        self.model = model_for_engines(tied=tied, positions=positions)
        self.tokenizer = letter_tokenizer()
        self.engine = start(kind, self.model, self.tokenizer, **settings)
        self._initial = copy.deepcopy(self.model.state_dict())

    def reset(self) -> None:
        """Let the engine and the model have the weights that they began with."""
        self.model.load_state_dict(self._initial)
        self.push(0)

    def push(self, version: int) -> None:
        """Give the engine the model's weights."""
        self.engine.load_weights(self.model.named_parameters(), version)

    @torch.no_grad()
    def perturb(self, seed: int, size: float = 0.03) -> None:
        """Move every weight of the model a little."""
        generator = torch.Generator().manual_seed(seed)
        for weight in self.model.parameters():
            weight.add_(size * weight.std() * torch.randn(weight.shape, generator=generator).to(weight.device))

    def sample(self, asked: Sequence[Asked], **params: Any) -> list[tuple[Trajectory, ...]]:
        """Sample. Any: what :func:`sample` takes."""
        return sample(self.engine, asked, **params)

    def logprob_error(self, asked: Sequence[Asked], got: Sequence[tuple[Trajectory, ...]], temperature: float) -> float:
        """Return the greatest difference between the engine's log-probabilities and transformers'."""
        errors = [
            (exact_logprobs(self.model, request.prompt_ids, one, temperature) - torch.tensor(one.logprobs)).abs().max()
            for request, completions in zip(asked, got, strict=True)
            for one in completions
        ]
        return float(max(errors))

    def computed_prompt_tokens(self, request: Asked) -> int:
        """Sample one token for each seed; return how many tokens of prompts the engine computed for that."""
        if not isinstance(self.engine, LocalEngine):
            before = self.engine.reused_prompt_tokens  # type: ignore[attr-defined]  # engines with a cache count it
            self.sample([request], max_new_tokens=1)
            reused: int = self.engine.reused_prompt_tokens - before  # type: ignore[attr-defined]  # as above
            return len(request.prompt_ids) * len(request.seeds) - reused
        computed: list[int] = []
        embedding = self.model.get_input_embeddings()
        hook = embedding.register_forward_pre_hook(lambda _, inputs: computed.append(inputs[0].numel()))
        self.sample([request], max_new_tokens=1)
        hook.remove()
        return sum(computed)
