"""How long a prompt with its completion may be."""

from collections.abc import Sequence

from transformers import PretrainedConfig

from reasonrl.engines import Request, SamplingParams
from reasonrl.errors import ModelError


def position_limit(config: PretrainedConfig) -> int | None:
    """Return the number of positions that a model was made for; None where its configuration names none."""
    limit: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
    return limit


def refuse_too_long(
    requests: Sequence[Request], params: SamplingParams, limit: int | None, *, limited_by: str = "the model"
) -> None:
    """Positions beyond a model's limit would be computed wrongly, in silence.

    Raises:
        ModelError: a prompt and its longest completion have more tokens than ``limit``.
    """
    longest = max(len(request.prompt_ids) for request in requests)
    if limit is not None and longest + params.max_new_tokens > limit:
        raise ModelError(
            f"a prompt has {longest} tokens and a completion may have {params.max_new_tokens}, but {limited_by} has "
            f"{limit} positions. Lower max_new_tokens or shorten the template."
        )
