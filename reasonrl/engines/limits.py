"""How long a prompt with its completion may be."""

from transformers import PretrainedConfig

from reasonrl.engines import Request
from reasonrl.errors import ModelError


def position_limit(config: PretrainedConfig) -> int | None:
    """Return the number of positions that a model was made for; None where its configuration names none."""
    limit: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
    return limit


def refuse_too_long(request: Request, limit: int | None, *, limited_by: str = "the model") -> None:
    """Refuse what does not fit: positions beyond a model's limit would be computed wrongly, in silence.

    Raises:
        ModelError: the prompt and its longest completion have more tokens than ``limit``.
    """
    length, max_new_tokens = len(request.prompt_ids), request.params.max_new_tokens
    if limit is not None and length + max_new_tokens > limit:
        raise ModelError(
            f"a prompt has {length} tokens and a completion may have {max_new_tokens}, but {limited_by} has {limit} "
            "positions. Lower max_new_tokens or shorten the template."
        )
