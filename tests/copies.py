"""An engine with weights of its own that needs no vLLM: the embedded one, on a copy of the learner's model."""

from collections.abc import Iterable
from copy import deepcopy

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from reasonrl.engines import EngineInputs
from reasonrl.engines.local import LocalEngine
from reasonrl.models.compute import Compute


class CopyEngine(LocalEngine):
    """Samples from a copy, which :meth:`load_weights` brings up to date."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, compute: Compute | None = None
    ) -> None:
        super().__init__(deepcopy(model), tokenizer, compute)
        self.shares_weights = False

    @torch.no_grad()
    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        own = dict(self._model.named_parameters())
        for name, value in weights:
            own[name].copy_(value)
        super().load_weights((), version)


def copy_engine(inputs: EngineInputs) -> CopyEngine:
    """Start in place of vLLM: ``rollout.engine=copies:copy_engine``."""
    return CopyEngine(inputs.model, inputs.tokenizer, inputs.compute)
