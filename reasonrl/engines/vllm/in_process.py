"""vLLM in the learner's process: it loads weights by reference, and both share one device."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from reasonrl.engines import EngineInputs, Request
from reasonrl.engines.limits import refuse_too_long
from reasonrl.engines.running import AbortSwitch, PendingRequest, RequestQueue
from reasonrl.engines.tokens import SampledTokens, completion
from reasonrl.engines.vllm.limits import refuse_too_cold
from reasonrl.engines.vllm.lora import AdapterFolder
from reasonrl.engines.vllm.model_folder import write_model_folder
from reasonrl.engines.vllm.weight_file import require_names, weight_layout
from reasonrl.errors import EngineError
from reasonrl.types import Trajectory

if TYPE_CHECKING:
    from reasonrl.engines.vllm.api import InProcessLLM


class VLLMEngine:
    """Samples with vLLM, which batches, pages and shares prompts; a new request joins those that are being sampled.

    It has any weights until :meth:`load_weights`, unless its inputs say where they are. One process holds one such
    engine at a time.

    Args:
        inputs: what it is made from.

    Raises:
        ConfigError: a setting cannot be used.
        EngineError: vLLM is not installed, or did not start.
    """

    def __init__(self, inputs: EngineInputs) -> None:
        from reasonrl.engines.vllm import api

        self.policy_version = 0
        self.shares_weights = False
        self.loads_while_sampling = False
        self.end_ids = inputs.end_ids
        self.reused_prompt_tokens = 0
        """Tokens of prompts that were not computed again for another completion, in all."""
        self._tokenizer = inputs.tokenizer
        self._weight_names = inputs.weight_names
        self._sleeps = inputs.vllm.sleep and inputs.device.type == "cuda"
        self._asleep = False
        self._gpus = [] if inputs.device.type == "cpu" else [inputs.device]
        self._queue = RequestQueue(self._sample_waiting)
        self._switch = AbortSwitch()
        self._llm: InProcessLLM | None = None
        with TemporaryDirectory(prefix="reasonrl-") as folder:
            if inputs.weights_from is None:
                write_model_folder(Path(folder), inputs.model.config, inputs.tokenizer)
            arguments = {**api.arguments(Path(folder), inputs), "enable_sleep_mode": self._sleeps}
            self._llm = api.InProcessLLM(arguments, inputs.device)
        if inputs.adapter is not None and inputs.weights_from is not None:
            self._llm.load_adapter(inputs.weights_from)
        self._adapter = None if inputs.adapter is None else AdapterFolder(inputs.adapter, weight_layout(inputs))

    async def generate(self, request: Request) -> Trajectory:
        """Return one completion; see :meth:`reasonrl.engines.Engine.generate`.

        Raises:
            ConfigError: vLLM would sample under another temperature.
        """
        limit = self._opened().max_model_len
        refuse_too_long(request, limit, limited_by="the model in vLLM (vllm.max_model_len)")
        refuse_too_cold(request.params)
        async with self._switch.guard():
            return await self._queue.submit(request)

    async def _sample_waiting(self) -> None:
        """Let vLLM compute one token after the other until nothing is left."""
        running: dict[str, PendingRequest] = {}
        try:
            while self._add_waiting(running):
                for name, sampled in self._step():
                    self._finish(running.pop(name), sampled)
                await asyncio.sleep(
                    0
                )  # whoever waits for a completion goes on at once; deadlines and aborts are noticed
        finally:
            self._opened().remove(running)

    def _add_waiting(self, running: dict[str, PendingRequest]) -> bool:
        """Add the requests that wait, remove those that were cancelled, and say whether any are left."""
        llm, waiting = self._opened(), self._queue.take()
        names = llm.add([pending.request for pending in waiting], self.end_ids)
        running.update(zip(names, waiting, strict=True))
        cancelled = [name for name, pending in running.items() if pending.future.done()]
        llm.remove(cancelled)
        for name in cancelled:
            del running[name]
        return bool(running)

    def _step(self) -> list[tuple[str, SampledTokens]]:
        with torch.random.fork_rng(self._gpus):  # vLLM draws from torch's generator beside the requests' own
            return self._opened().step()

    def _finish(self, pending: PendingRequest, sampled: SampledTokens) -> None:
        self.reused_prompt_tokens += sampled.num_cached_tokens
        if not pending.future.done():
            trajectory = completion(pending.request, sampled, self._tokenizer, self.end_ids, self.policy_version)
            pending.future.set_result(trajectory)

    def abort(self) -> None:
        """End the sampling that runs in another thread."""
        self._switch.abort()

    def sleep(self) -> None:
        """Free the GPU's memory for the learner; on a CPU nothing is held that it needs."""
        if self._sleeps and not self._asleep:
            self._opened().sleep()
            self._asleep = True

    def load_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Load the learner's weights and drop what was computed with the old ones.

        Raises:
            EngineError: they are not all of the model's, or vLLM did not load them.
        """
        llm, given = self._opened(), {name: tensor.detach() for name, tensor in weights}
        require_names(given, self._weight_names)
        if self._asleep:
            llm.wake("weights")
        if self._adapter is None:
            llm.load_weights(given)
        else:
            llm.load_adapter(self._adapter.export(given.items()))
        if self._asleep:
            llm.wake("kv_cache")
        self._asleep, self.policy_version = False, version

    def close(self) -> None:
        """Stop vLLM and free its memory."""
        if self._llm is not None:
            self._llm.close()
            self._llm = None
            if self._adapter is not None:
                self._adapter.close()

    def _opened(self) -> "InProcessLLM":
        if self._llm is None:
            raise EngineError("the engine is closed.")
        return self._llm
