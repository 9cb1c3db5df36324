"""A completion of token ids as vLLM's server takes and gives it: ``POST /v1/completions``."""

from collections.abc import Collection
from typing import Any

from reasonrl.engines import Request
from reasonrl.engines.tokens import SampledTokens


def completion_body(request: Request, model: str, end_ids: Collection[int]) -> dict[str, object]:
    """Return what is posted for one completion.

    What shapes the distribution is set in full, because a server may have defaults of its own. Only ``end_ids`` and
    stop strings end a completion, whatever vLLM finds in the model's files.
    """
    params = request.params
    return {
        "model": model,
        "prompt": list(request.prompt_ids),
        "add_special_tokens": False,
        "seed": request.seed,
        "temperature": params.temperature,
        "top_p": params.top_p,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "max_tokens": params.max_new_tokens,
        "stop": list(params.stop),
        "include_stop_str_in_output": True,
        "skip_special_tokens": False,
        "stop_token_ids": sorted(end_ids),
        "ignore_eos": True,
        "logprobs": 0,
        "return_token_ids": True,
    }


def is_aborted(answer: Any) -> bool:
    """Say whether a completion was ended before it was finished, as all are when a server is paused. Any: JSON."""
    return bool(answer["choices"][0]["finish_reason"] == "abort")


def read_completion(answer: Any) -> SampledTokens:
    """Read one completion; one that was aborted has what was sampled before. Any: vLLM's JSON."""
    (choice,), counts = answer["choices"], answer["usage"].get("prompt_tokens_details") or {}
    tokens = choice["token_ids"] or ()
    return SampledTokens(
        token_ids=tuple(tokens),
        logprobs=tuple(choice["logprobs"]["token_logprobs"]) if tokens else (),
        finish_reason="stop" if choice["finish_reason"] == "stop" else "length",
        num_cached_tokens=counts.get("cached_tokens") or 0,
    )
