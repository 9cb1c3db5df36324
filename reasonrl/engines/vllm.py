"""vLLM in the learner's process: weights are handed over by reference, and both share one device."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from reasonrl.config import VLLMSettings
from reasonrl.engines import Arrived, Request, SamplingParams
from reasonrl.engines.adapter import Adapter, AdapterFolder
from reasonrl.engines.arrivals import Arrivals, Place
from reasonrl.engines.deadline import Deadline
from reasonrl.engines.handover import require_all, weight_names, write_model_folder
from reasonrl.engines.limits import refuse_too_long
from reasonrl.engines.tokens import completion_text
from reasonrl.errors import EngineError
from reasonrl.types import Completion

if TYPE_CHECKING:
    from reasonrl.engines.vllm_api import InProcessLLM, Sampled


class VLLMEngine:
    """Samples with vLLM, which batches, pages and shares the prompts of a group.

    It has any weights until :meth:`load`. One process holds one such engine at a time.

    Args:
        model_config: of the learner's model.
        tokenizer: turns sampled tokens into text.
        end_ids: tokens that end a completion.
        settings: of vLLM.
        dtype: type of matrix products, the learner's.
        device: where the learner is.
        adapter: what is learnt; None where all weights are.

    Raises:
        ConfigError: a setting cannot be used.
        EngineError: vLLM is not installed, or did not start.
    """

    def __init__(
        self,
        model_config: PretrainedConfig,
        tokenizer: PreTrainedTokenizerBase,
        end_ids: Collection[int],
        settings: VLLMSettings,
        *,
        dtype: torch.dtype,
        device: torch.device,
        adapter: Adapter | None = None,
    ) -> None:
        """Start vLLM on a folder that holds the model without its weights."""
        from reasonrl.engines import vllm_api

        self.policy_version = 0
        self.shares_weights = False
        self.reused_prompt_tokens = 0
        """Tokens of prompts that were not computed again for another completion, in all."""
        self._tokenizer = tokenizer
        self._end_ids = frozenset(end_ids)
        self._names = weight_names(model_config) if adapter is None else adapter.names
        self._sleeps = settings.sleep and device.type == "cuda"
        self._asleep = False
        self._gpus = [] if device.type == "cpu" else [device]
        self._deadline = Deadline()
        self._llm: InProcessLLM | None = None
        with TemporaryDirectory(prefix="reasonrl-") as folder:
            write_model_folder(Path(folder), model_config, tokenizer)
            arguments = vllm_api.arguments(Path(folder), settings, dtype=dtype, device=device, adapter=adapter)
            self._llm = vllm_api.InProcessLLM({**arguments, "enable_sleep_mode": self._sleeps}, device)
        self._adapter = None if adapter is None else AdapterFolder(adapter)

    def sample(
        self, requests: Sequence[Request], params: SamplingParams, arrived: Arrived | None = None
    ) -> list[tuple[Completion, ...]]:
        """Return one completion for each seed of each request, in order; ``arrived`` is told of each when it is done.

        Raises:
            ModelError: a prompt and its longest completion do not fit the model.
            EngineError: it took too long, was aborted, or the engine is closed.
        """
        llm = self._open()
        refuse_too_long(requests, params, llm.max_model_len, limited_by="the model in vLLM (vllm.max_model_len)")
        self._deadline.start(params.timeout_s)
        arrivals = Arrivals(requests, arrived)

        def finished(position: int, sampled: "Sampled") -> None:
            place = arrivals.places[position]
            arrivals.add(place, self._completion(sampled, place))

        with torch.random.fork_rng(self._gpus):  # vLLM draws from torch's generator beside the requests' own
            llm.sample(requests, params, self._end_ids, self._deadline, finished)
        return arrivals.in_order()

    def _completion(self, sampled: "Sampled", place: Place) -> Completion:
        """Assemble one completion."""
        self.reused_prompt_tokens += sampled.cached_tokens
        return Completion(
            token_ids=sampled.token_ids,
            text=completion_text(sampled.token_ids, self._tokenizer, self._end_ids),
            logprobs=sampled.logprobs,
            finish_reason=sampled.finish_reason,
            policy_version=self.policy_version,
            sample_index=place.sample_index,
            seed=place.seed,
        )

    def abort(self) -> None:
        """End the sampling that runs in another thread."""
        self._deadline.abort()

    def sleep(self) -> None:
        """Give the GPU's memory to the learner; on a CPU nothing is held that it needs."""
        if self._sleeps and not self._asleep:
            self._open().sleep()
            self._asleep = True

    def load(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Take the learner's weights and forget what was computed with the old ones.

        Raises:
            EngineError: they are not all of the model's, or vLLM did not take them.
        """
        llm, given = self._open(), require_all(weights, self._names)
        if self._asleep:
            llm.wake("weights")
        self._give(llm, given)
        if self._asleep:
            llm.wake("kv_cache")
        self._asleep, self.policy_version = False, version

    def _give(self, llm: "InProcessLLM", weights: dict[str, Tensor]) -> None:
        """Hand weights over: all of the model's by reference, an adapter's as files."""
        if self._adapter is None:
            return llm.load(weights)
        return llm.load_adapter(self._adapter.hold(weights))

    def close(self) -> None:
        """Stop vLLM and give its memory back."""
        if self._llm is not None:
            self._llm.close()
            self._llm = None
            if self._adapter is not None:
                self._adapter.close()

    def _open(self) -> "InProcessLLM":
        """Return vLLM, unless it was closed."""
        if self._llm is None:
            raise EngineError("the engine is closed.")
        return self._llm
