"""A vLLM server that somebody started, asked in token ids: what it samples is what an engine of ours would."""

from collections.abc import Collection, Iterable

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from reasonrl.engines import Request
from reasonrl.engines.endpoint.client import EndpointClient, EndpointError
from reasonrl.engines.limits import refuse_too_long
from reasonrl.engines.running import AbortSwitch
from reasonrl.engines.tokens import completion
from reasonrl.engines.vllm.limits import refuse_too_cold
from reasonrl.engines.vllm.protocol import completion_body, read_completion
from reasonrl.errors import EngineError
from reasonrl.types import Trajectory


class TokenEndpoint:
    """Samples with the weights that a server has, whatever they are.

    Args:
        client: of the server.
        model: the name by which it serves the model.
        max_model_len: most tokens of a prompt with its completion.
        tokenizer: turns sampled tokens into text.
        end_ids: end a completion.
    """

    policy_version = 0
    shares_weights = False
    loads_while_sampling = False

    def __init__(
        self,
        client: EndpointClient,
        model: str,
        max_model_len: int | None,
        tokenizer: PreTrainedTokenizerBase,
        end_ids: Collection[int],
    ) -> None:
        self._client, self._model, self._max_model_len = client, model, max_model_len
        self._tokenizer, self._end_ids = tokenizer, end_ids
        self._switch = AbortSwitch()

    async def generate(self, request: Request) -> Trajectory:
        """Return one completion; see :meth:`reasonrl.engines.Engine.generate`.

        Raises:
            ConfigError: vLLM would sample under another temperature.
        """
        refuse_too_long(request, self._max_model_len, limited_by=f"the model at {self._client.url}")
        refuse_too_cold(request.params)
        async with self._switch.guard():
            body = completion_body(request, self._model, self._end_ids)
            answer = await self._client.post(self._client.url / "completions", body)
        try:
            sampled = read_completion(answer)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise EngineError(f"{self._client.url}: its answer is no completion in token ids: {error!r}.") from None
        return completion(request, sampled, self._tokenizer, self._end_ids, self.policy_version)

    def abort(self) -> None:
        """End the sampling that runs in another thread."""
        self._switch.abort()

    def sleep(self) -> None:
        """Free nothing: the server is somebody else's."""

    def load_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Refuse.

        Raises:
            EngineError: always.
        """
        raise EngineError(f"{self._client.url} takes no weights; to train with a server, set vllm.urls.")

    def close(self) -> None:
        """Free nothing: connections end with their event loop."""


async def require_same_tokenizer(client: EndpointClient, model: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a server of another model than the one at hand, as far as their tokenizers tell.

    Raises:
        EngineError: it makes other tokens of a text.
    """
    text = "To solve 12 + 7 = ?, note that naïve\nadding  works: \\boxed{19} 你好"
    ours = tokenizer(text, add_special_tokens=False)["input_ids"]
    body = {"model": model, "prompt": text, "add_special_tokens": False}
    try:
        theirs = (await client.post(client.root / "tokenize", body))["tokens"]
    except EndpointError as error:
        if error.status in (404, 405):  # a server without this route cannot be asked
            return
        raise
    if theirs != ours:
        raise EngineError(
            f"{client.url} serves {model!r}, whose tokenizer is not the one of the model that is measured."
        )
