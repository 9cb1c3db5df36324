"""Evaluate what an endpoint with OpenAI's API serves: in token ids where that is vLLM and its tokenizer is here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yarl import URL

from reasonrl.engines import SamplingParams
from reasonrl.engines.endpoint.address import api_key, api_url
from reasonrl.engines.endpoint.chat import ChatEndpoint
from reasonrl.engines.endpoint.chat import Prompt as Asked
from reasonrl.engines.endpoint.client import EndpointClient, EndpointError
from reasonrl.errors import ModelError, and_known
from reasonrl.evaluation.sources import EngineSource, SampleSource, sampling_params
from reasonrl.models import is_remote, locate
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import Suite
from reasonrl.rollout.environment import Generate, Prompt
from reasonrl.rollout.templates import FilledTemplate, find_template
from reasonrl.system.event_loop import run_until_complete
from reasonrl.types import Problem, Trajectory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_CONCURRENT = 32
"""Requests to an endpoint at a time, where nothing else is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Served:
    """What an endpoint says that it serves."""

    models: Sequence[Mapping[str, Any]]
    """Entries of its list; none where it has no list. Any: JSON values."""
    version: str | None
    """vLLM's; None for anything else."""

    @property
    def names(self) -> list[str]:
        return [str(entry.get("id")) for entry in self.models]

    def called(self, name: str, place: str | None, url: URL) -> Mapping[str, Any]:
        """Return the entry of the model that a user names, or an entry that says only that. Any: JSON values.

        Raises:
            ModelError: it is none of those that are served.
        """
        roots = {name, place}
        fitting = [entry for entry in self.models if entry.get("id") == name]
        fitting += [entry for entry in self.models if entry.get("root") in roots]
        if fitting:
            return fitting[0]
        if place is not None and len(self.models) == 1:
            return self.models[0]
        if self.version is None and place is None:
            return {"id": name}  # many endpoints know names that they do not list
        raise ModelError(f"{url} does not serve {name!r}.{and_known(name, self.names)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _EndpointEnvironment:
    """Sends a problem as messages where the template is a chat, and as text otherwise."""

    template: FilledTemplate
    params: SamplingParams
    endpoint: ChatEndpoint

    def asked(self, problem: Problem) -> Asked:
        """Return what is sent."""
        is_chat = self.template.template.chat
        return self.template.messages(problem) if is_chat else self.template.filled(problem)

    def prompt(self, problem: Problem) -> Prompt:
        """Fill in the template; the endpoint makes tokens of it."""
        asked = self.asked(problem)
        text = asked if isinstance(asked, str) else "\n\n".join(f"{each['role']}: {each['content']}" for each in asked)
        return Prompt(problem=problem, text=text, token_ids=())

    async def run(self, prompt: Prompt, generate: Generate, *, seed: int, sample_index: int) -> Trajectory:
        """Ask for the one completion."""
        asked = self.asked(prompt.problem)
        return await self.endpoint.answer(asked, self.params, seed=seed, sample_index=sample_index)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSource:
    """A model that an endpoint knows by name."""

    name: str
    engine: ChatEndpoint
    plugins: Plugins
    facts: Mapping[str, object]

    def environment(self, suite: Suite, template: str) -> _EndpointEnvironment:
        """Send problems in messages or as text, as the template is."""
        filled = FilledTemplate(find_template(template, self.plugins))
        return _EndpointEnvironment(template=filled, params=sampling_params(suite), endpoint=self.engine)

    def close(self) -> None:
        """Free nothing: the endpoint is somebody else's."""


def open_endpoint(
    model: str,
    engine: str,
    suites: Sequence[Suite],
    *,
    plugins: Plugins,
    max_concurrent: int | None = None,
    request_timeout_s: float = 600.0,
) -> SampleSource:
    """Find out what an endpoint serves, and how the model there is sampled.

    Args:
        model: a folder, whose weights the endpoint has, or a name that it serves.
        engine: its address.
        suites: what will be measured; for each template a short request is sent.
        plugins: where templates come from.
        max_concurrent: most requests at a time.
        request_timeout_s: longest time of one.

    Raises:
        ConfigError: the address is none.
        ModelError: the endpoint does not serve the model.
        EngineError: it does not answer, or refuses.
    """
    url = api_url(engine)
    limit, key = max_concurrent or MAX_CONCURRENT, api_key()
    opening = EndpointClient(url, key, max_concurrent=1, timeout_s=60.0, tries=2, outage_s=0.0)
    client = EndpointClient(url, key, max_concurrent=limit, timeout_s=request_timeout_s)
    return run_until_complete(_opened(model, suites, plugins, opening, client))


async def _opened(
    model: str, suites: Sequence[Suite], plugins: Plugins, opening: EndpointClient, client: EndpointClient
) -> SampleSource:
    served = await _served(opening)
    place = _folder(model)
    entry = served.called(model, place, client.url)
    facts = {"served_model": entry["id"]}
    if served.version is not None:
        facts["vllm"] = served.version
        tokenizer = None if place is None else _tokenizer(place)
        if tokenizer is not None and place is not None:
            return await _token_source(opening, client, entry, place, tokenizer, plugins, facts)
    return await _chat_source(opening, client, entry["id"], served, suites, plugins, facts)


async def _token_source(
    opening: EndpointClient,
    client: EndpointClient,
    entry: Mapping[str, Any],
    place: str,
    tokenizer: "PreTrainedTokenizerBase",
    plugins: Plugins,
    facts: Mapping[str, object],
) -> EngineSource:
    from reasonrl.engines.endpoint.tokens import TokenEndpoint, require_same_tokenizer
    from reasonrl.engines.tokens import end_token_ids
    from reasonrl.models.skeleton import load_skeleton

    await require_same_tokenizer(opening, entry["id"], tokenizer)
    end_ids = end_token_ids(load_skeleton(place), tokenizer)
    return EngineSource(
        name=str(client.url),
        engine=TokenEndpoint(client, entry["id"], entry.get("max_model_len"), tokenizer, end_ids),
        tokenizer=tokenizer,
        plugins=plugins,
        facts={**facts, "prompts": "token ids"},
    )


async def _chat_source(
    opening: EndpointClient,
    client: EndpointClient,
    name: str,
    served: _Served,
    suites: Sequence[Suite],
    plugins: Plugins,
    facts: Mapping[str, object],
) -> EndpointSource:
    """Try each template of the suites with a short request, and note which parameters the endpoint refuses."""
    trial = ChatEndpoint(opening, name, is_vllm=served.version is not None)
    trial_source = EndpointSource(name="", engine=trial, plugins=plugins, facts={})
    kinds = set()
    for suite in {suite.template: suite for suite in reversed(suites) if suite.problems}.values():
        environment = trial_source.environment(suite, suite.template)
        asked = environment.asked(suite.problems[0])
        kinds.add("text" if isinstance(asked, str) else "messages")
        await trial.probe(asked, environment.params)
    return EndpointSource(
        name=str(client.url),
        engine=trial.with_client(client),
        plugins=plugins,
        facts={**facts, "prompts": ", ".join(sorted(kinds)), "left_out": sorted(trial.left_out)},
    )


async def _served(client: EndpointClient) -> _Served:
    """Ask an endpoint what it serves.

    Raises:
        EngineError: it does not answer, or wants a key.
    """
    try:
        answer = await client.get(client.url / "models")
    except EndpointError as error:
        if error.status not in (404, 405, 501):
            raise
        return _Served(models=(), version=None)
    listed = answer.get("data") if isinstance(answer, dict) else None
    models = [entry for entry in listed or () if isinstance(entry, dict)]
    if not any(entry.get("owned_by") == "vllm" for entry in models):
        return _Served(models=models, version=None)
    return _Served(models=models, version=str((await client.get(client.root / "version"))["version"]))


def _folder(model: str) -> str | None:
    """Return the folder of a model that is on this machine, in the hub's cache too; None for a name alone."""
    if not is_remote(model):
        try:
            return locate(model)
        except ModelError:
            return None
    from huggingface_hub import snapshot_download

    try:
        return str(snapshot_download(model, local_files_only=True))
    except (OSError, ValueError):  # not in the cache, or no name of the hub
        return None


def _tokenizer(folder: str) -> "PreTrainedTokenizerBase | None":
    """Return the tokenizer in a folder; None where it has none."""
    from reasonrl.models.load import load_tokenizer

    try:
        return load_tokenizer(folder) if Path(folder).is_dir() else None
    except ModelError:
        return None
