"""An engine with weights of its own that needs no vLLM: the embedded one, on a copy of the learner's model."""

from collections.abc import Iterable
from copy import deepcopy

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from reasonrl.config import RunConfig
from reasonrl.engines.local import LocalEngine
from reasonrl.learner import Learner


class CopyEngine(LocalEngine):
    """Samples from a copy, which :meth:`load` brings up to date."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__(deepcopy(model), tokenizer, dtype)
        self.shares_weights = False

    @torch.no_grad()
    def load(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        own = dict(self._model.named_parameters())
        for name, value in weights:
            own[name].copy_(value)
        super().load((), version)


def copy_engine(
    config: RunConfig, learner: Learner, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype
) -> CopyEngine:
    """Start in place of vLLM, with the arguments of ``reasonrl.assembly._engine``."""
    assert config.rollout.engine == "vllm"
    return CopyEngine(learner.model, tokenizer, dtype)
