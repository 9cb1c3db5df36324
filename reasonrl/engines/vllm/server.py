"""vLLM servers, used over HTTP: started and supervised by the run, or given by their addresses."""

import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import mkdtemp

from torch import Tensor

from reasonrl.engines import EngineInputs, Request
from reasonrl.engines.limits import refuse_too_long
from reasonrl.engines.running import AbortSwitch
from reasonrl.engines.vllm.dispatch import Dispatcher
from reasonrl.engines.vllm.launch import given_replicas, own_replicas
from reasonrl.engines.vllm.limits import refuse_too_cold
from reasonrl.engines.vllm.lora import AdapterWeightSync
from reasonrl.engines.vllm.model_folder import write_model_folder
from reasonrl.engines.vllm.partial import PartialCompletion
from reasonrl.engines.vllm.replica import Replica
from reasonrl.engines.vllm.served_weights import ServedWeights
from reasonrl.engines.vllm.weight_sync import WeightSync, choose_weight_sync
from reasonrl.errors import EngineError
from reasonrl.system.loop_thread import LoopThread
from reasonrl.types import Trajectory


class VLLMServerEngine:
    """Samples with vLLM servers; completions of one prompt come from one of them, which computes the prompt once.

    New weights may be loaded at any time: what is being sampled goes on with them, and every token has the version that
    chose it. What a lost server had not given back is sampled by the others, with the same seeds; it is restarted, or
    waited for where the run did not start it, and loads the weights again. Requests may come from several event loops
    at once. All servers have any weights until :meth:`load_weights`, unless the inputs say where they are.

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
        self._tokenizer = inputs.tokenizer
        self._switch = AbortSwitch()
        sync = _weight_sync(inputs)
        self._weights = ServedWeights(sync, inputs.model.config, inputs.vllm)
        self._folder = Path(mkdtemp(prefix="reasonrl-"))
        self._model_folder = self._folder / "model"
        self._replicas = given_replicas(inputs.vllm)
        self._thread: LoopThread | None = None
        try:
            if not self._replicas:
                if inputs.weights_from is None:
                    write_model_folder(self._model_folder, inputs.model.config, inputs.tokenizer)
                self._replicas = own_replicas(self._model_folder, inputs, sync.backend)
            self._launch_all()
        except BaseException:
            self.close()
            raise
        num_seqs = inputs.vllm.max_num_seqs
        self._dispatcher = Dispatcher(self._replicas, self._weights, end_ids=self.end_ids, max_num_seqs=num_seqs)
        self._thread = LoopThread("vllm servers", num_threads=4 * (1 + len(self._replicas)))

    def _launch_all(self) -> None:
        """Start all servers side by side, and check those that were given."""
        for replica in self._replicas:
            replica.launch()
        for replica in self._replicas:
            replica.wait_until_ready(lambda: None)
            self._weights.require_usable(replica)

    async def generate(self, request: Request) -> Trajectory:
        """Return one completion; see :meth:`reasonrl.engines.Engine.generate`.

        Raises:
            ConfigError: vLLM would sample under another temperature.
        """
        thread, limit = self._opened(), min(replica.max_model_len for replica in self._replicas)
        refuse_too_long(request, limit, limited_by="the model in vLLM (vllm.max_model_len)")
        refuse_too_cold(request.params)
        partial = PartialCompletion(request, self._tokenizer)
        async with self._switch.guard():
            await thread.awaited(self._dispatcher.sample(partial))
        self.reused_prompt_tokens += partial.num_cached_tokens
        return partial.trajectory(self.end_ids)

    def abort(self) -> None:
        """End the sampling that runs in another thread."""
        self._switch.abort()

    def sleep(self) -> None:
        """Free nothing: the servers keep their memory."""

    def load_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Load the learner's weights into all servers, which drop what they computed with the old ones.

        A server that is lost meanwhile has them before it samples again.

        Raises:
            EngineError: the weights are not all of the model's, or a server did not load them.
        """
        thread = self._opened()
        self._weights.replace(weights, version, lambda: thread.run(self._dispatcher.load()))
        self.policy_version = version

    def close(self) -> None:
        """End the servers that are the run's, and remove what was written for them but the logs of what failed."""
        if self._thread is not None:
            self._dispatcher.close()
            self._thread.close()
            self._thread = None
        with ThreadPoolExecutor() as threads:
            list(threads.map(Replica.close, self._replicas))
        self._weights.close()
        failed = any(replica.has_failed for replica in self._replicas)
        shutil.rmtree(self._model_folder if failed else self._folder, ignore_errors=True)
        self._replicas = []

    def _opened(self) -> LoopThread:
        if self._thread is None:
            raise EngineError("the engine is closed.")
        return self._thread


def _weight_sync(inputs: EngineInputs) -> WeightSync:
    return choose_weight_sync(inputs) if inputs.adapter is None else AdapterWeightSync(inputs)
