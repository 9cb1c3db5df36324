"""Engines sample from the policy, behind one Protocol: the loop does not know which one it has."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from reasonrl.config.settings import VLLMSettings
from reasonrl.types import Trajectory

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from reasonrl.models.compute import Compute


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """How a completion is sampled."""

    max_new_tokens: int
    temperature: float = 1.0
    """0 is greedy decoding."""
    top_p: float = 1.0
    """Tokens are drawn from the fewest most probable ones whose probabilities reach this sum, and log-probabilities are
    those among them. Held-out sampling only: training needs those of the whole distribution."""
    stop: tuple[str, ...] = ()
    """Strings that end a completion; the string itself is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One completion to be sampled."""

    prompt_ids: tuple[int, ...]
    """All tokens of the conversation so far."""
    seed: int
    """Decides the completion, together with prompt and weights; what is sampled beside it does not."""
    sample_index: int = 0
    """Position among the trajectories of its problem."""
    params: SamplingParams


class Engine(Protocol):
    """Samples completions of token ids; text is never tokenized again."""

    policy_version: int
    """Number of weight updates the sampling model has seen."""
    shares_weights: bool
    """Whether it samples from the learner's own module, so that no weights are synced and nothing can differ."""
    loads_while_sampling: bool
    """Whether :meth:`load_weights` may be called from another thread while requests are outstanding: these go on with
    the new weights, and their trajectories have a segment for each policy version."""

    async def generate(self, request: Request) -> Trajectory:
        """Return one completion as soon as it is finished: a trajectory of one segment, unless weights were loaded
        meanwhile.

        Many calls run side by side on one event loop; :mod:`reasonrl.engines.batch` runs them. Requests with equal
        prompts should follow one another, so that the prompt is computed once. A call that is cancelled ends soon.

        Raises:
            ModelError: the prompt and its longest completion do not fit the model.
            EngineError: it was aborted, or the engine is lost. An engine that is not lost can be asked again.
        """
        ...

    def abort(self) -> None:
        """Make all calls of :meth:`generate` raise soon; called from any thread. Does nothing when none runs."""
        ...

    def sleep(self) -> None:
        """Free the memory that the learner may need; nothing is sampled until :meth:`load_weights`."""
        ...

    def load_weights(self, weights: "Iterable[tuple[str, torch.Tensor]]", version: int) -> None:
        """Wake, replace all weights, drop what was computed with the old ones, and set ``policy_version``.

        Raises:
            EngineError: the weights did not arrive.
        """
        ...

    def close(self) -> None:
        """Free everything; nothing of the engine is left running. Closing twice is closing once."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineInputs:
    """What an engine is made from: the argument of an engine plugin, whose other parameters come from the run file."""

    model: "PreTrainedModel"
    """The learner's module."""
    tokenizer: "PreTrainedTokenizerBase"
    compute: "Compute"
    """How the learner computes the model: type of its products, and path."""
    device: "torch.device"
    """Where the learner is."""
    weight_names: frozenset[str]
    """Names of what :meth:`Engine.load_weights` will be given: all weights of the model, or those of its adapter."""
    adapter: "LoraConfig | None" = None
    """The LoRA adapter that is trained, as peft describes it; None where all weights are trained."""
    vllm: VLLMSettings = field(default_factory=VLLMSettings)
    """Section ``vllm`` of the run file."""
    token_entropy: bool = False
    """Whether trajectories are to have the entropy of every token's distribution (``rollout.token_entropy``)."""
    weights_from: str | None = None
    """Folder or hub name of a model, or of an adapter, whose weights the engine reads by itself when it starts, so that
    ``model`` need not have any; None in training, where :meth:`Engine.load_weights` brings them."""

    @property
    def dtype(self) -> "torch.dtype":
        """Type of the learner's matrix products."""
        return self.compute.dtype

    @property
    def end_ids(self) -> frozenset[int]:
        """All tokens that end a completion."""
        from reasonrl.engines.tokens import end_token_ids

        return end_token_ids(self.model, self.tokenizer)
