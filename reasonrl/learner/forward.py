"""Hidden states that predict tokens: the prompt of a group is computed once for all its trajectories."""

import inspect
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from reasonrl.learner.batching import Microbatch
from reasonrl.models.sharded import forward_pass, is_sharded, sum_gradients_once


def predicting_states(model: PreTrainedModel, batch: Microbatch) -> Tensor:
    """Return the last hidden states [M, D] at the positions that predict the tokens with a loss, row after row.

    With gradient checkpointing nothing can be kept of the prompt, so each row computes its own.
    """

    def compute() -> Tensor:
        states_NTD = _separate(model, batch) if model.is_gradient_checkpointing else _shared(model, batch)
        rows = zip(states_NTD, batch.lengths, batch.chosen, strict=True)
        return torch.cat([row[:length] if chosen is None else row[list(chosen)] for row, length, chosen in rows])

    return forward_pass(model, compute)


def _shared(model: PreTrainedModel, batch: Microbatch) -> Tensor:
    """Compute each prompt once, then the continuations over its keys and values; gradients flow through both."""
    device = model.device
    prompts_PT, mask_PT = (part.to(device) for part in padded(batch.prompts, left=True))
    completed = [continuation[:-1] for continuation in batch.continuations]
    if is_sharded(model) and not any(completed):
        completed = [(0,)] * len(completed)  # processes run the layers of a divided model equally often
    completed_NT, _ = (part.to(device) for part in padded(completed, left=False))
    prompt_N = torch.tensor(batch.prompt_of_row, device=device)
    cache = DynamicCache(config=model.config)
    prompt_PTD = run_over_cache(model, prompts_PT, mask_PT, cache)
    first_ND = prompt_PTD[:, -1][prompt_N]
    if completed_NT.shape[1] == 0:
        return first_ND[:, None]
    cache.reorder_cache(prompt_N)  # type: ignore[arg-type]  # a LongTensor is a Tensor of int64
    # Padding stands at the right of a continuation, where causal attention hides it from every real token.
    mask_NT = torch.cat([mask_PT[prompt_N], torch.ones_like(completed_NT)], dim=1)
    completed_NTD = run_over_cache(model, completed_NT, mask_NT, cache)
    sum_gradients_once(model, prompt_PTD, completed_NTD)
    return torch.cat([first_ND[:, None], completed_NTD], dim=1)


def run_over_cache(model: PreTrainedModel, ids_NT: Tensor, mask_NT: Tensor, cache: DynamicCache) -> Tensor:
    """Run the model without its head over new tokens; ``mask_NT`` covers the cached ones too."""
    positions_NT = (mask_NT.cumsum(dim=1) - 1).clamp(min=0)[:, -ids_NT.shape[1] :]
    takes_positions = "position_ids" in inspect.signature(model.base_model.forward).parameters
    positions = {"position_ids": positions_NT} if takes_positions else {}
    output = model.base_model(
        input_ids=ids_NT, attention_mask=mask_NT, past_key_values=cache, use_cache=True, **positions
    )
    states_NTD: Tensor = output.last_hidden_state
    return states_NTD


def _separate(model: PreTrainedModel, batch: Microbatch) -> Tensor:
    """Compute prompt and continuation of every row; causal attention needs no mask with padding at the right."""
    prompts = [batch.prompts[number] for number in batch.prompt_of_row]
    rows = [(*prompt, *completed[:-1]) for prompt, completed in zip(prompts, batch.continuations, strict=True)]
    ids_NT = padded(rows, left=False)[0].to(model.device)
    states_NTD = model.base_model(input_ids=ids_NT, use_cache=False).last_hidden_state
    longest = max(map(len, batch.continuations))
    offsets_NT = torch.tensor([[len(prompt) - 1] for prompt in prompts]) + torch.arange(longest)
    offsets_NT = offsets_NT.clamp(max=ids_NT.shape[1] - 1).to(model.device)
    gathered: Tensor = states_NTD.gather(1, offsets_NT[:, :, None].expand(-1, -1, states_NTD.shape[-1]))
    return gathered


def padded(rows: Sequence[tuple[int, ...]], *, left: bool) -> tuple[Tensor, Tensor]:
    """Return token ids and the mask of real tokens; masks come from lengths, never from token values."""
    longest = max(map(len, rows))
    ids_NT = torch.zeros(len(rows), longest, dtype=torch.long)
    mask_NT = torch.zeros(len(rows), longest, dtype=torch.long)
    for number, row in enumerate(rows):
        place = slice(longest - len(row), longest) if left else slice(0, len(row))
        ids_NT[number, place] = torch.tensor(row, dtype=torch.long)
        mask_NT[number, place] = 1
    return ids_NT, mask_NT
