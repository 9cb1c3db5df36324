"""The weights that servers sample with: pushed to each under a label of its own, and checked before and after use."""

import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import Lock
from typing import Final, TypeAlias

from torch import Tensor
from transformers import PretrainedConfig

from reasonrl.config.settings import VLLMSettings
from reasonrl.engines.vllm.launch import require_usable
from reasonrl.engines.vllm.replica import RefusedError, Replica
from reasonrl.engines.vllm.weight_sync import WeightSync
from reasonrl.errors import EngineError

Check: TypeAlias = Callable[[], None]
"""Called often by what blocks in a thread; raises when nobody waits for it any more."""

INITIAL_LABEL: Final = "default"
"""What a server calls its weights that has loaded none since its start."""


class ServedWeights:
    """Loads the current weights into servers. All methods block, and may be called from any thread.

    Args:
        sync: the way that weights take.
        model_config: of the learner's model.
        settings: of vLLM.
    """

    def __init__(self, sync: WeightSync, model_config: PretrainedConfig, settings: VLLMSettings) -> None:
        self.version = 0
        """Of the weights that servers have, or are about to be given."""
        self._sync = sync
        self._model_config = model_config
        self._settings = settings
        self._run_label = f"reasonrl-{secrets.token_hex(4)}"
        self._lock = Lock()  # held while weights are replaced, so that nobody reads them half written

    def replace(self, weights: Iterable[tuple[str, Tensor]], version: int, load_everywhere: Callable[[], None]) -> None:
        """Replace the weights, and have all servers load them.

        Args:
            weights: consumed to their end, in order, in this thread, whatever happens.
            version: of the policy.
            load_everywhere: calls :meth:`load` for each server that answers.

        Raises:
            EngineError: they are not all of the model's, or a server did not load them.
        """
        left = iter(weights)
        try:
            with self._lock:
                earlier, self.version = self.version, version
                try:
                    self._sync.send(left, load_everywhere)
                except BaseException:
                    self.version = earlier
                    raise
        finally:
            for _ in left:  # other ranks take part in making each
                pass

    def load(self, replica: Replica) -> None:
        """Have a paused server load the current weights, drop what it computed with others, and go on.

        Raises:
            LostError: it does not answer.
            EngineError: it did not load them.
        """
        self._sync.push(replica)
        replica.post("/update_weight_version", {"new_version": self.label(self.version)})
        dropped = replica.post("/reset_prefix_cache")["success"]
        replica.post("/resume")
        if not dropped:
            raise EngineError(f"{replica.name} still holds prompts that were computed with old weights.")
        self.require_own(replica, self.version)
        replica.policy_version = self.version

    def prepare(self, replica: Replica) -> None:
        """Load the weights where an idle server has none, and refuse those of somebody else.

        Raises:
            LostError: it does not answer.
            EngineError: it has other weights, or did not load these.
        """
        if self._has_own(replica):
            return
        with self._lock:
            if _label_at(replica) == INITIAL_LABEL:
                self._pause_and_load(replica)
            self.require_own(replica, replica.policy_version)

    def restart(self, replica: Replica, why: str, check: Check) -> None:
        """Make a lost server able to sample with the current weights.

        Raises:
            LostError: it was lost once more.
            EngineError: it was lost too often, does not answer again, or cannot be trained with.
        """
        replica.restart(why, check)
        require_usable(replica, self._model_config, self._settings, self._sync.backend)
        with self._lock:
            self._pause_and_load(replica)

    def require_usable(self, replica: Replica) -> None:
        """Refuse a server that cannot be trained with; mend a given one whose trainer was killed in an update.

        Raises:
            EngineError: it cannot be trained with.
        """
        require_usable(replica, self._model_config, self._settings, self._sync.backend)
        if replica.is_given:
            with suppress(RefusedError):  # where no trainer was killed in the middle of an update
                replica.post("/finish_weight_update")

    def verify(self, replica: Replica) -> bool:
        """Refuse what was sampled with weights that somebody else had the server load; say whether that was checked.

        It is not while weights are replaced: then it is checked before they are.

        Raises:
            LostError: it does not answer.
            EngineError: somebody did.
        """
        if self._has_own(replica):
            return True
        if not self._lock.acquire(blocking=False):
            return False
        try:
            self.require_own(replica, replica.policy_version)
        finally:
            self._lock.release()
        return True

    def require_own(self, replica: Replica, version: int) -> None:
        """Refuse to sample with weights that somebody else had the server load.

        Raises:
            EngineError: somebody did.
        """
        if (label := _label_at(replica)) != self.label(version):
            wanted = self.label(version)
            raise EngineError(f"{replica.name} has weights {label!r}, not {wanted!r}: does another run use it?")

    def _has_own(self, replica: Replica) -> bool:
        """Say whether a server has the run's weights; a No may be wrong while they are replaced."""
        return _label_at(replica) == self.label(replica.policy_version)

    def label(self, version: int) -> str:
        """Return what servers are told to call weights: no other run calls its own so."""
        return f"{self._run_label}-{version}"

    def close(self) -> None:
        """Remove what was written for servers."""
        self._sync.close()

    def _pause_and_load(self, replica: Replica) -> None:
        replica.post("/pause?mode=abort")
        self.load(replica)


def _label_at(replica: Replica) -> str:
    return str(replica.get("/weight_info")["weight_version"])
