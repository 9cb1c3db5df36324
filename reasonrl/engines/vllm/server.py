"""vLLM servers, used over HTTP: started and supervised by the run, or given by their addresses."""

import secrets
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

from torch import Tensor

from reasonrl.engines import EngineInputs, Request
from reasonrl.engines.limits import refuse_too_long
from reasonrl.engines.running import AbortSwitch
from reasonrl.engines.tokens import completion
from reasonrl.engines.vllm.launch import given_replicas, own_replicas, require_usable
from reasonrl.engines.vllm.limits import refuse_too_cold
from reasonrl.engines.vllm.lora import AdapterWeightSync
from reasonrl.engines.vllm.model_folder import write_model_folder
from reasonrl.engines.vllm.protocol import completion_body, read_completion
from reasonrl.engines.vllm.replica import LostError, RefusedError, Replica
from reasonrl.engines.vllm.requests import Check, Dispatcher, ReplicaActions
from reasonrl.engines.vllm.weight_sync import NoWeightSync, WeightSync, choose_weight_sync, require_all
from reasonrl.errors import EngineError
from reasonrl.types import Trajectory

INITIAL_LABEL = "default"
"""What a server calls its weights that has loaded none since its start."""


class VLLMServerEngine:
    """Samples with vLLM servers; completions of one prompt come from one of them, which computes the prompt once.

    A server that is lost is restarted, loads the weights again, and is sent again what it had not answered, with the
    same seeds. All have any weights until :meth:`load_weights`, unless the inputs say where they are.

    Args:
        inputs: what it is made from.

    Raises:
        ConfigError: a setting cannot be used.
        EngineError: a server did not start, or cannot be trained with.
    """

    def __init__(self, inputs: EngineInputs) -> None:
        self.policy_version = 0
        self.shares_weights = False
        self.loads_while_sampling = True
        self.end_ids = inputs.end_ids
        self.reused_prompt_tokens = 0
        """Tokens of prompts that were not computed again for another completion, in all."""
        self._model_config = inputs.model.config
        self._settings = inputs.vllm
        self._tokenizer = inputs.tokenizer
        self._weight_names = inputs.weight_names
        self._switch = AbortSwitch()
        self._run_label = f"reasonrl-{secrets.token_hex(4)}"
        self._weight_sync = _weight_sync(inputs)
        self._folder = Path(mkdtemp(prefix="reasonrl-"))
        self._model_folder = self._folder / "model"
        self._replicas = given_replicas(inputs.vllm)
        self._dispatcher: Dispatcher | None = None
        try:
            if not self._replicas:
                if inputs.weights_from is None:
                    write_model_folder(self._model_folder, inputs.model.config, inputs.tokenizer)
                self._replicas = own_replicas(self._model_folder, inputs, self._weight_sync.backend)
            self._launch_all()
        except BaseException:
            self.close()
            raise

    def _launch_all(self) -> None:
        """Start all servers side by side, and check those that were given."""
        for replica in self._replicas:
            replica.launch()
        for replica in self._replicas:
            replica.wait_until_ready(lambda: None)
            require_usable(replica, self._model_config, self._settings, self._weight_sync.backend)
            if replica.is_given:
                with suppress(RefusedError):  # where no trainer was killed in the middle of an update
                    replica.post("/finish_weight_update")

    async def generate(self, request: Request) -> Trajectory:
        """Return one completion; see :meth:`reasonrl.engines.Engine.generate`.

        Raises:
            ConfigError: vLLM would sample under another temperature.
        """
        limit = min(replica.max_model_len for replica in self._opened())
        refuse_too_long(request, limit, limited_by="the model in vLLM (vllm.max_model_len)")
        refuse_too_cold(request.params)
        async with self._switch.guard():
            answer = await self._dispatch().send(
                request.prompt_ids, lambda replica: completion_body(request, replica.model, self.end_ids)
            )
        sampled = read_completion(answer)
        self.reused_prompt_tokens += sampled.num_cached_tokens
        return completion(request, sampled, self._tokenizer, self.end_ids, self.policy_version)

    def _dispatch(self) -> Dispatcher:
        """Return the dispatcher of the requests that are outstanding; of none, a new one: the event loop may be new."""
        if self._dispatcher is None or self._dispatcher.is_idle:
            actions = ReplicaActions(prepare=self._prepare, restart=self._restart, verify=self._verify)
            self._dispatcher = Dispatcher(self._replicas, actions, self._settings.max_num_seqs)
        return self._dispatcher

    def abort(self) -> None:
        """End the sampling that runs in another thread."""
        self._switch.abort()

    def sleep(self) -> None:
        """Free nothing: the servers keep their memory."""

    def load_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Load the learner's weights into all servers, which drop what they computed with the old ones.

        Raises:
            EngineError: the weights are not all of the model's, or a server did not load them.
        """
        replicas = self._opened()
        self._weight_sync.export(require_all(weights, self._weight_names))
        self.policy_version = version
        with ThreadPoolExecutor(len(replicas)) as threads:
            list(threads.map(lambda replica: self._push_or_restart(replica, lambda: None), replicas))

    @property
    def _label(self) -> str:
        """What servers are told to call the current weights: no other run calls its own so."""
        return f"{self._run_label}-{self.policy_version}"

    def _push_or_restart(self, replica: Replica, check: Check) -> None:
        try:
            self._push(replica)
        except LostError as why:
            self._restart(replica, str(why), check)

    def _push(self, replica: Replica) -> None:
        """Have a server load the current weights, and drop what it computed with others."""
        replica.post("/pause?mode=abort")
        self._weight_sync.push(replica)
        replica.post("/update_weight_version", {"new_version": self._label})
        dropped = replica.post("/reset_prefix_cache")["success"]
        replica.post("/resume")
        if not dropped:
            raise EngineError(f"{replica.name} still holds prompts that were computed with old weights.")
        self._require_own_weights(replica)

    def _prepare(self, replica: Replica, check: Check) -> None:
        """Restart a server that was lost since it was last used, and load the weights where it has none."""
        try:
            label = _weights_label(replica)
        except LostError as why:
            return self._restart(replica, str(why), check)
        if label == INITIAL_LABEL:
            self._push_or_restart(replica, check)
        return self._require_own_weights(replica)

    def _restart(self, replica: Replica, why: str, check: Check) -> None:
        """Make a lost server able to sample with the current weights."""
        while True:
            replica.restart(why, check)
            try:
                require_usable(replica, self._model_config, self._settings, self._weight_sync.backend)
                return self._push(replica)
            except LostError as again:
                why = str(again)

    def _verify(self, replica: Replica) -> None:
        replica.forget_losses()
        with suppress(LostError):  # it is restarted when it is used again
            self._require_own_weights(replica)

    def _require_own_weights(self, replica: Replica) -> None:
        """Refuse to sample with weights that somebody else had the server load."""
        if (label := _weights_label(replica)) != self._label:
            raise EngineError(f"{replica.name} has weights {label!r}, not {self._label!r}: does another run use it?")

    def close(self) -> None:
        """End the servers that are the run's, and remove what was written for them but the logs of what failed."""
        with ThreadPoolExecutor() as threads:
            list(threads.map(Replica.close, self._replicas))
        self._weight_sync.close()
        failed = any(replica.has_failed for replica in self._replicas)
        shutil.rmtree(self._model_folder if failed else self._folder, ignore_errors=True)
        self._replicas = []

    def _opened(self) -> list[Replica]:
        if not self._replicas:
            raise EngineError("the engine is closed.")
        return self._replicas


def _weight_sync(inputs: EngineInputs) -> WeightSync:
    if inputs.adapter is not None:
        return AdapterWeightSync(inputs.adapter, inputs.vllm, inputs.weights_from or "")
    return choose_weight_sync(inputs.vllm) if inputs.weights_from is None else NoWeightSync()


def _weights_label(replica: Replica) -> str:
    return str(replica.get("/weight_info")["weight_version"])
