"""Messages between ``reasonrl rm serve`` and its clients, and the replies that are read of other servers."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

TOKEN_VARIABLE: Final = "REASONRL_RM_TOKEN"
"""Environment variable that may hold the token, for server and client."""

MAX_ITEMS: Final = 4096
"""Completions in one request."""


class Message(BaseModel):
    """One JSON object with these members and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ScoreItem(Message):
    """A completion to be scored."""

    id: str
    """Echoed with its score, so that scores cannot change places; no two of a request are the same."""
    prompt: str = ""
    """The question as text, before any template; or ``messages``."""
    messages: tuple[Mapping[str, str], ...] | None = None
    """A conversation to use in place of ``prompt`` where the model's template is a chat."""
    completion: str
    """Its text, without an end-of-sequence token."""
    meta: Mapping[str, Any] = {}
    """Further columns of the problem, for templates that use them. Any: JSON values."""

    @model_validator(mode="after")
    def _require_prompt(self) -> Self:
        if not self.prompt.strip() and not self.messages:
            raise ValueError("has neither prompt nor messages")
        return self


class ScoreRequest(Message):
    """Body of ``POST /score``."""

    schema_version: Literal[1] = 1
    items: Annotated[tuple[ScoreItem, ...], Field(min_length=1, max_length=MAX_ITEMS)]

    @model_validator(mode="after")
    def _refuse_repeated_ids(self) -> Self:
        if len({item.id for item in self.items}) < len(self.items):
            raise ValueError("two items have one id")
        return self


class ItemScore(Message):
    """The score of one completion."""

    id: str
    value: float | None
    """Standardized with the model's frozen scales, clipped at five standard deviations, the mean of its heads; what the
    reward gives with its default settings. None where there is no score."""
    raw: tuple[float, ...] | None
    """What each head gave."""
    outcome: Literal["scored", "unscorable", "error"]
    """``unscorable`` for a text that is too long."""
    error: str | None = None
    """Why there is no score."""

    @model_validator(mode="after")
    def _require_raw_of_scored(self) -> Self:
        if (self.outcome == "scored") != (self.raw is not None):
            raise ValueError(f"outcome {self.outcome!r} does not go with raw {self.raw!r}")
        return self


class ScoreReply(Message):
    """Reply of ``POST /score``."""

    schema_version: Literal[1] = 1
    card: str
    """Digest of the model's card: another model than before is noticed."""
    scores: tuple[ItemScore, ...]
    """One for each item, in any order."""


class RewardRequest(BaseModel):
    """Body of ``POST /get_reward``, as OpenRLHF's trainers send it; what else they send is not read."""

    model_config = ConfigDict(frozen=True)

    query: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_ITEMS)]
    """Prompt, in the template, and completion as one text each; an end-of-sequence token may follow."""
    prompts: tuple[str, ...] | None = None
    """The prompts alone."""

    @model_validator(mode="after")
    def _require_prompt_of_each(self) -> Self:
        if self.prompts is not None and len(self.prompts) != len(self.query):
            raise ValueError(f"there are {len(self.query)} in query, but {len(self.prompts)} in prompts")
        return self


class RewardReply(BaseModel):
    """Reply of ``POST /get_reward``."""

    model_config = ConfigDict(frozen=True)

    rewards: tuple[float | None, ...]
    """One for each query, in their order."""


class PoolingOutput(BaseModel):
    """One output of vLLM's ``POST /pooling``."""

    model_config = ConfigDict(frozen=True)

    index: int
    """Position of its input in the request."""
    data: tuple[float, ...]
    """The score of each head."""


class PoolingReply(BaseModel):
    """Reply of vLLM's ``POST /pooling``."""

    model_config = ConfigDict(frozen=True)

    data: tuple[PoolingOutput, ...]


class ServedModel(BaseModel):
    """A model that vLLM serves."""

    model_config = ConfigDict(frozen=True)

    id: str
    max_model_len: int


class ModelsReply(BaseModel):
    """Reply of vLLM's ``GET /v1/models``."""

    model_config = ConfigDict(frozen=True)

    data: Annotated[tuple[ServedModel, ...], Field(min_length=1)]
