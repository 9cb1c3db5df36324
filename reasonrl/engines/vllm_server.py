"""vLLM servers, asked over HTTP: started and supervised by us, or given by their addresses."""

import asyncio
import secrets
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from reasonrl.config import VLLMSettings
from reasonrl.engines import Arrived, Request, SamplingParams
from reasonrl.engines.adapter import Adapter, AdapterWeights
from reasonrl.engines.arrivals import Arrivals, Place
from reasonrl.engines.deadline import Deadline
from reasonrl.engines.handover import require_all, weight_names, write_model_folder
from reasonrl.engines.in_flight import ask_all
from reasonrl.engines.limits import refuse_too_long
from reasonrl.engines.replica import LostError, RefusedError, Replica
from reasonrl.engines.tokens import completion_text
from reasonrl.engines.transfer import choose_transfer
from reasonrl.engines.vllm_launch import given_replicas, own_replicas, require_usable
from reasonrl.engines.vllm_limits import refuse_too_cold
from reasonrl.errors import EngineError
from reasonrl.types import Completion

UNTOUCHED = "default"
"""What a server calls its weights that was given none since its start."""


class VLLMServerEngine:
    """Samples with vLLM servers; the completions of a request come from one of them, which shares their prompt.

    A server that is lost is brought back, given the weights again, and asked again for what it had not answered, with
    the same seeds. All have any weights until :meth:`load`.

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
        EngineError: a server did not start, or is not one that can be learnt with.
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
        """Start the servers, or look at those that were given."""
        self.policy_version = 0
        self.shares_weights = False
        self.reused_prompt_tokens = 0
        """Tokens of prompts that were not computed again for another completion, in all."""
        self._model_config = model_config
        self._settings = settings
        self._tokenizer = tokenizer
        self._end_ids = frozenset(end_ids)
        self._names = weight_names(model_config) if adapter is None else adapter.names
        self._deadline = Deadline()
        self._us = f"reasonrl-{secrets.token_hex(4)}"
        self._weights = choose_transfer(settings) if adapter is None else AdapterWeights(adapter, settings)
        self._folder = Path(mkdtemp(prefix="reasonrl-"))
        self._model_folder = self._folder / "model"
        self._replicas = given_replicas(settings)
        try:
            if not self._replicas:
                write_model_folder(self._model_folder, model_config, tokenizer)
                folder, backend = self._model_folder, self._weights.backend
                self._replicas = own_replicas(folder, settings, backend, dtype=dtype, device=device, adapter=adapter)
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        """Start all servers side by side."""
        for replica in self._replicas:
            replica.start()
        for replica in self._replicas:
            replica.await_answer(lambda: None)
            require_usable(replica, self._model_config, self._settings, self._weights.backend)
            if replica.is_given:
                with suppress(RefusedError):  # where no trainer was killed in the middle of an update
                    replica.post("/finish_weight_update")

    def sample(
        self, requests: Sequence[Request], params: SamplingParams, arrived: Arrived | None = None
    ) -> list[tuple[Completion, ...]]:
        """Return one completion for each seed of each request, in order; ``arrived`` is told of each when it is done.

        Raises:
            ModelError: a prompt and its longest completion do not fit the model.
            EngineError: it took too long, was aborted, or a server was lost too often.
        """
        limit = min(replica.max_model_len for replica in self._open())
        refuse_too_long(requests, params, limit, limited_by="the model in vLLM (vllm.max_model_len)")
        refuse_too_cold(params)
        self._deadline.start(params.timeout_s)
        for replica in self._replicas:
            self._make_ready(replica)
        arrivals = Arrivals(requests, arrived)

        def answered(position: int, answer: Any) -> None:  # Any: vLLM's JSON
            place = arrivals.places[position]
            arrivals.add(place, self._completion(answer, place))

        work = ask_all(
            [self._question(requests, place, params) for place in arrivals.places],
            answered,
            slots=self._settings.max_num_seqs,
            deadline=self._deadline,
            bring_back=partial(self._bring_back, check=self._deadline.check),
        )
        asyncio.run(work)
        for replica in self._replicas:
            replica.worked()
            with suppress(LostError):  # it is brought back when it is asked again
                self._require_ours(replica)
        return arrivals.in_order()

    def _question(
        self, requests: Sequence[Request], place: Place, params: SamplingParams
    ) -> tuple[Replica, Mapping[str, object]]:
        """Return which server is asked for a completion, and what."""
        replica = self._replicas[place.request_index % len(self._replicas)]
        return replica, self._body(replica, requests[place.request_index], place.seed, params)

    def _body(self, replica: Replica, request: Request, seed: int, params: SamplingParams) -> dict[str, object]:
        """Return the request for one completion.

        What shapes the distribution is said in full, because a server may have defaults of its own. Only ``end_ids``
        and stop strings end a completion, whatever vLLM finds in the model's files.
        """
        shape = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
        return shape | {
            "model": replica.model,
            "prompt": list(request.prompt_ids),
            "add_special_tokens": False,
            "seed": seed,
            "temperature": params.temperature,
            "max_tokens": params.max_new_tokens,
            "stop": list(params.stop),
            "include_stop_str_in_output": True,
            "skip_special_tokens": False,
            "stop_token_ids": sorted(self._end_ids),
            "ignore_eos": True,
            "logprobs": 0,
            "return_token_ids": True,
        }

    def _completion(self, answer: Any, place: Place) -> Completion:
        """Read one completion. Any: vLLM's JSON."""
        (choice,), counts = answer["choices"], answer["usage"].get("prompt_tokens_details") or {}
        self.reused_prompt_tokens += counts.get("cached_tokens") or 0
        return Completion(
            token_ids=tuple(choice["token_ids"]),
            text=completion_text(choice["token_ids"], self._tokenizer, self._end_ids),
            logprobs=tuple(choice["logprobs"]["token_logprobs"]),
            finish_reason="stop" if choice["finish_reason"] == "stop" else "length",
            policy_version=self.policy_version,
            sample_index=place.sample_index,
            seed=place.seed,
        )

    def abort(self) -> None:
        """End the sampling that runs in another thread."""
        self._deadline.abort()

    def sleep(self) -> None:
        """Nothing to give up: the servers keep their memory."""

    def load(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Give all servers the learner's weights; they forget what they computed with the old ones.

        Raises:
            EngineError: the weights are not all of the model's, or a server did not take them.
        """
        replicas = self._open()
        self._weights.hold(require_all(weights, self._names))
        self.policy_version = version
        with ThreadPoolExecutor(len(replicas)) as threads:
            list(threads.map(self._hand_over, replicas))

    @property
    def _label(self) -> str:
        """What servers are told to call the current weights: no other run calls its own so."""
        return f"{self._us}-{self.policy_version}"

    def _hand_over(self, replica: Replica, check: Callable[[], None] = lambda: None) -> None:
        """Give a server the current weights; bring it back where it is lost."""
        try:
            self._push(replica)
        except LostError as why:
            self._bring_back(replica, str(why), check)

    def _push(self, replica: Replica) -> None:
        """Give a server the current weights, and have it forget what it computed with others."""
        replica.post("/pause?mode=abort")
        self._weights.send(replica)
        replica.post("/update_weight_version", {"new_version": self._label})
        forgot = replica.post("/reset_prefix_cache")["success"]
        replica.post("/resume")
        if not forgot:
            raise EngineError(f"{replica.name} still holds prompts that were computed with old weights.")
        self._require_ours(replica)

    def _make_ready(self, replica: Replica) -> None:
        """Bring a server back that was lost since it was last asked, and give it the weights where it has none."""
        try:
            held = self._held(replica)
        except LostError as why:
            return self._bring_back(replica, str(why), self._deadline.check)
        if held == UNTOUCHED:
            self._hand_over(replica, self._deadline.check)
        return self._require_ours(replica)

    def _bring_back(self, replica: Replica, why: str, check: Callable[[], None]) -> None:
        """Make a lost server able to sample with the current weights."""
        while True:
            replica.bring_back(why, check)
            try:
                require_usable(replica, self._model_config, self._settings, self._weights.backend)
                return self._push(replica)
            except LostError as again:
                why = str(again)

    def _require_ours(self, replica: Replica) -> None:
        """Refuse to sample with weights that somebody else gave the server."""
        if (held := self._held(replica)) != self._label:
            raise EngineError(f"{replica.name} has weights {held!r}, not {self._label!r}: does another run use it?")

    def _held(self, replica: Replica) -> str:
        """Return what a server calls its weights."""
        return str(replica.get("/weight_info")["weight_version"])

    def close(self) -> None:
        """End the servers that are ours, and remove what was written for them but the logs of what went wrong."""
        with ThreadPoolExecutor() as threads:
            list(threads.map(Replica.close, self._replicas))
        self._weights.close()
        failed = any(replica.gave_up for replica in self._replicas)
        shutil.rmtree(self._model_folder if failed else self._folder, ignore_errors=True)
        self._replicas = []

    def _open(self) -> list[Replica]:
        """Return the servers, unless the engine was closed."""
        if not self._replicas:
            raise EngineError("the engine is closed.")
        return self._replicas
