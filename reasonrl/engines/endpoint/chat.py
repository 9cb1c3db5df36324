"""A model that an endpoint knows by name, asked in messages or in text; token ids stay with the endpoint."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from yarl import URL

from reasonrl.engines import Request, SamplingParams
from reasonrl.engines.endpoint.client import EndpointClient, EndpointError
from reasonrl.engines.running import AbortSwitch
from reasonrl.errors import EngineError
from reasonrl.types import FinishReason, Trajectory

if TYPE_CHECKING:
    from torch import Tensor

UNKNOWN_TOKEN: Final = -1
"""Stands for each token that an endpoint counts, whose id it does not tell."""

SEED_BITS: Final = 31
"""Endpoints disagree on how large a seed may be; all take so many bits."""

NEUTRAL: Final[Mapping[str, object]] = {"temperature": 1.0, "top_p": 1.0}
"""Values of parameters that change nothing: these are left out where an endpoint refuses the parameter."""

REFUSED: Final = re.compile(
    r"unsupported|not support|unrecogni[sz]ed|unknown|not permitted|extra_forbidden|unexpected|not allowed",
    re.IGNORECASE,
)
"""What endpoints call a parameter that they do not take."""

TOO_FEW: Final = re.compile(r"could not finish the message", re.IGNORECASE)
"""What endpoints say where a model that reasons was given too few tokens for that."""

FINISH_REASONS: Final[Mapping[str, FinishReason]] = {"length": "length", "content_filter": "content_filter"}
"""All others are ``stop``."""

PROBE_TOKENS: Final = 16
"""Tokens of the request that an endpoint is tried with."""

Prompt = Sequence[Mapping[str, str]] | str
"""Messages, or the text that a completion begins with."""


class ChatEndpoint:
    """Samples with a model that is known by name.

    A parameter that the endpoint refuses is left out from then on where that costs reproducibility alone, and is an
    error otherwise.

    Args:
        client: of the endpoint.
        model: the name.
        is_vllm: whether it takes vLLM's own parameters.
    """

    policy_version = 0
    shares_weights = False
    loads_while_sampling = False

    def __init__(self, client: EndpointClient, model: str, *, is_vllm: bool) -> None:
        self._client, self._model, self._is_vllm = client, model, is_vllm
        self.left_out: set[str] = set()
        """Parameters that the endpoint refused."""
        self._limit_name = "max_tokens"
        self._switch = AbortSwitch()

    async def answer(self, prompt: Prompt, params: SamplingParams, *, seed: int, sample_index: int) -> Trajectory:
        """Return one completion, which ends behind the first stop string.

        Raises:
            EngineError: the endpoint refused, does not answer, or was aborted.
        """
        async with self._switch.guard():
            reply = await self._reply(prompt, params, seed)
        choice, usage = reply["choices"][0], reply.get("usage") or {}
        text = choice["text"] if isinstance(prompt, str) else choice["message"].get("content")
        text, was_cut = _cut(text or "", params.stop)
        num_tokens = usage.get("completion_tokens") or 0
        return Trajectory.single_turn(
            token_ids=(UNKNOWN_TOKEN,) * num_tokens,
            text=text,
            logprobs=(0.0,) * num_tokens,
            finish_reason="stop" if was_cut else FINISH_REASONS.get(choice.get("finish_reason") or "", "stop"),
            policy_version=self.policy_version,
            sample_index=sample_index,
            seed=seed,
        )

    def with_client(self, client: EndpointClient) -> "ChatEndpoint":
        """Return the same with other limits and what was found out."""
        other = ChatEndpoint(client, self._model, is_vllm=self._is_vllm)
        other.left_out, other._limit_name = set(self.left_out), self._limit_name
        return other

    async def probe(self, prompt: Prompt, params: SamplingParams) -> None:
        """Find out by one short request whether the endpoint takes such requests.

        Raises:
            EngineError: it does not.
        """
        few = SamplingParams(max_new_tokens=PROBE_TOKENS, temperature=params.temperature, top_p=params.top_p)
        try:
            await self._reply(prompt, few, 0)
        except EndpointError as error:
            if not TOO_FEW.search(str(error)):
                raise

    async def _reply(self, prompt: Prompt, params: SamplingParams, seed: int) -> Any:
        """Return a reply that has a choice. Any: JSON."""
        is_text = isinstance(prompt, str)
        while True:
            body = self._body(prompt, params, seed)
            try:
                reply = await self._client.post(self._route(is_text=is_text), body)
            except EndpointError as error:
                if is_text and error.status in (404, 405):
                    raise EngineError(f"{error} The template is a text: use one that is a chat.") from None
                self._adapt(body, error)
            else:
                return _require_choice(reply, self._client.url, is_text=is_text)

    def _route(self, *, is_text: bool) -> URL:
        return self._client.url / "completions" if is_text else self._client.url / "chat" / "completions"

    def _body(self, prompt: Prompt, params: SamplingParams, seed: int) -> dict[str, object]:
        body: dict[str, object] = {
            "model": self._model,
            **({"prompt": prompt} if isinstance(prompt, str) else {"messages": [dict(message) for message in prompt]}),
            "temperature": params.temperature,
            "top_p": params.top_p,
            self._limit_name: params.max_new_tokens,
            "seed": seed % 2**SEED_BITS,
        }
        if self._is_vllm:  # what shapes the distribution, in full: a server has defaults from the model's files
            body |= {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
            body |= {"stop": list(params.stop), "include_stop_str_in_output": True}
        # Others drop the stop string, and do not tell whether there was one: the text is cut here.
        return {name: value for name, value in body.items() if name not in self.left_out}

    def _adapt(self, body: Mapping[str, object], error: EndpointError) -> None:
        """Write the next requests as the endpoint wants them.

        Raises:
            EndpointError: what it refuses cannot be left out.
        """
        refused = _refused_parameter(body, error)
        if refused == "max_tokens" and "max_completion_tokens" in str(error):
            self._limit_name = "max_completion_tokens"
        elif refused == "seed" or (refused in NEUTRAL and body[refused] == NEUTRAL[refused]):
            self.left_out.add(refused)
        elif refused in NEUTRAL:
            raise EngineError(
                f"{error} It was asked for {refused} {body[refused]}; {NEUTRAL[refused]} can be left out."
            )
        else:
            raise error

    async def generate(self, request: Request) -> Trajectory:
        """Refuse token ids.

        Raises:
            EngineError: always.
        """
        raise EngineError(f"{self._client.url} is asked in messages or text, not in token ids.")

    def abort(self) -> None:
        """End the sampling that runs in another thread."""
        self._switch.abort()

    def sleep(self) -> None:
        """Free nothing: the endpoint is somebody else's."""

    def load_weights(self, weights: "Iterable[tuple[str, Tensor]]", version: int) -> None:
        """Refuse.

        Raises:
            EngineError: always.
        """
        raise EngineError(f"{self._client.url} takes no weights.")

    def close(self) -> None:
        """Free nothing: connections end with their event loop."""


def _refused_parameter(body: Mapping[str, object], error: EndpointError) -> str:
    """Return the parameter that a request was refused for; nothing where it was for something else."""
    if error.status not in (400, 422):
        return ""
    if error.parameter in body and (REFUSED.search(error.code) or REFUSED.search(str(error))):
        return error.parameter
    if not REFUSED.search(str(error)):
        return ""
    optional = [name for name in body if name not in ("model", "messages", "prompt")]
    return next((name for name in optional if re.search(rf"\b{name}\b", str(error))), "")


def _require_choice(reply: Any, url: URL, *, is_text: bool) -> Any:
    """Return a reply that is a completion. Any: JSON.

    Raises:
        EngineError: it is none.
    """
    try:
        choice = reply["choices"][0]
        content = choice["text"] if is_text else choice["message"].get("content")
    except (KeyError, TypeError, IndexError, AttributeError):
        raise EngineError(f"{url}: its answer is no completion: {str(reply)[:200]}") from None
    if not isinstance(content, str | None):
        raise EngineError(f"{url}: its answer holds something other than text: {str(content)[:200]}")
    return reply


def _cut(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """Return a text up to the end of the first stop string, and whether there was one."""
    ends = [text.find(string) + len(string) for string in stop if string in text]
    return (text[: min(ends)], True) if ends else (text, False)
