"""The chat endpoint that serves a judge, and how it is asked."""

import math
import os
import re
from collections.abc import Mapping
from typing import Any, Final, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from reasonrl import ConfigError
from reasonrl.errors import and_known

StructuredOutput: TypeAlias = Literal["json_schema", "json_object", "none"]

OWN_FIELDS: Final = frozenset(
    {"model", "messages", "response_format", "temperature", "max_tokens", "stream", "n", "tools"}
)
"""Fields of a request that ``extra_body`` must not set."""

VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
"""The name of an environment variable. A key as services issue them has other characters, or is longer."""


class JudgeSettings(BaseModel):
    """Settings inside a parameter of a reward: frozen, and an unknown one is refused with the nearest name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown(cls, given: Any) -> Any:
        """Refuse an unknown setting here, because the message about a reward's parameters knows only those. Any: YAML.

        Raises:
            ConfigError: one is unknown.
        """
        unknown = sorted(str(name) for name in given if name not in cls.model_fields) if _is_mapping(given) else []
        if unknown:
            what = cls.__name__.lower()
            raise ConfigError(f"{what}: no setting {unknown[0]!r}.{and_known(unknown[0], cls.model_fields)}")
        return given


def _is_mapping(given: object) -> bool:
    return isinstance(given, Mapping)


class Endpoint(JudgeSettings):
    """A chat endpoint as OpenAI's API has it, the model that judges, and how it is asked."""

    url: str
    """Address of the API, such as ``http://127.0.0.1:8000/v1``; ``/chat/completions`` is added."""
    model: str
    """Name of the model, as the endpoint knows it."""
    api_key_env: str | None = None
    """Environment variable that holds the key, never the key itself: run files are shared and logged."""
    structured_output: StructuredOutput = "json_schema"
    """How the endpoint is held to the form of a verdict: ``response_format`` with a JSON schema, which vLLM, SGLang,
    llama.cpp and OpenAI serve; ``json_object``, which guarantees JSON but not the schema; ``none``, which only asks."""
    temperature: float | None = Field(0.0, ge=0, allow_inf_nan=False)
    """Sampling temperature; null leaves it out, for models that refuse it."""
    max_tokens: int | None = Field(1024, ge=1)
    """Most tokens of a reply; null leaves it out. A verdict that was cut is an error, never a value."""
    timeout_s: float = Field(60.0, gt=0, allow_inf_nan=False)
    """Longest time of one request; one that takes longer is tried again."""
    prompt_price: float | None = Field(None, ge=0, allow_inf_nan=False)
    """Price of a million prompt tokens, in any currency."""
    completion_price: float | None = Field(None, ge=0, allow_inf_nan=False)
    """Price of a million completion tokens, in the same currency."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the request, such as ``{seed: 1}`` or ``{chat_template_kwargs: {enable_thinking: false}}``.
    Any: JSON."""

    @model_validator(mode="after")
    def _refuse_unusable(self) -> Self:
        """Refuse what no request could be made of.

        Raises:
            ConfigError: and not ``ValueError``, because pydantic would repeat the value, which may be a key.
        """
        if self.api_key_env is not None and not VARIABLE.fullmatch(self.api_key_env):
            raise ConfigError(
                "endpoint.api_key_env is not the name of an environment variable. If it is the key itself, take it out "
                "of the run file, put it into a variable (export JUDGE_API_KEY=...) and name that one."
            )
        if taken := sorted(OWN_FIELDS & self.extra_body.keys()):
            raise ConfigError(f"endpoint.extra_body: {taken[0]!r} is set by the reward; take it out.")
        if (self.prompt_price is None) != (self.completion_price is None):
            raise ConfigError("endpoint: prompt_price and completion_price go together; give both.")
        return self

    def api_key(self) -> str | None:
        """Return the key, if one is needed.

        Raises:
            ConfigError: the variable is not set, or no header can hold its value.
        """
        if self.api_key_env is None:
            return None
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise ConfigError(f"endpoint.api_key_env: the environment variable {self.api_key_env} is not set.")
        if not key.isascii() or not key.isprintable():
            raise ConfigError(f"endpoint.api_key_env: the value of {self.api_key_env} has characters that no key has.")
        return key

    def body(self, messages: tuple[Mapping[str, str], ...], schema: Mapping[str, Any]) -> dict[str, Any]:
        """Return the request for one verdict; it does not depend on where the endpoint is. Any: JSON."""
        formats: dict[StructuredOutput, dict[str, Any]] = {
            "json_schema": {
                "type": "json_schema",
                "json_schema": {"name": "verdict", "schema": schema, "strict": True},
            },
            "json_object": {"type": "json_object"},
            "none": {},
        }
        body = {
            "model": self.model,
            "messages": [dict(message) for message in messages],
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
            "response_format": formats[self.structured_output] or None,
        }
        return {name: value for name, value in body.items() if value is not None} | self.extra_body

    def cost(self, prompt_tokens: float, completion_tokens: float) -> float | None:
        """Return what so many tokens cost, or None where no prices are given."""
        if self.prompt_price is None or self.completion_price is None:
            return None
        return math.fsum((prompt_tokens * self.prompt_price, completion_tokens * self.completion_price)) / 1e6
