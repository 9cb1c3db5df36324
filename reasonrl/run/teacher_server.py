"""A teacher in a vLLM server: one that somebody started, or one that the run starts, watches and ends."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

from transformers import PreTrainedTokenizerBase
from yarl import URL

from reasonrl.config.algorithm import SHARING_ENGINE
from reasonrl.config.distillation import DistillationSettings
from reasonrl.config.settings import RunConfig, VLLMSettings
from reasonrl.engines import EngineInputs
from reasonrl.engines.endpoint.address import api_key, api_url
from reasonrl.engines.endpoint.client import EndpointClient
from reasonrl.engines.endpoint.prompt_logprobs import PromptLogprobs
from reasonrl.engines.endpoint.tokens import require_same_tokenizer
from reasonrl.engines.vllm.launch import own_replicas
from reasonrl.engines.vllm.replica import Replica
from reasonrl.errors import ConfigError, EngineError, ModelError
from reasonrl.models import locate
from reasonrl.models.compute import Compute
from reasonrl.models.lora import adapter_base
from reasonrl.models.skeleton import load_skeleton
from reasonrl.run.distillation import teacher_place
from reasonrl.run.learning import run_device
from reasonrl.system.event_loop import run_until_complete
from reasonrl.types import TeacherTokens, TrainingSample

OPENING: Final[dict[str, Any]] = {"max_concurrent": 1, "timeout_s": 60.0, "tries": 2, "outage_s": 0.0}
"""Limits of the requests that find out what a server is. Any: arguments of the client."""

OWN_SERVER: Final[dict[str, Any]] = {"tries": 3, "outage_s": 0.0}
"""How often a server of the run's is asked again before it is restarted. Any: as above."""


class ServedTeacher:
    """A teacher that a server computes; a server of the run's that is lost is started again.

    Args:
        open_scorer: finds out what the server at the address serves; called again after each restart.
        replica: the server, where the run started it.
        folder: what was written for it; None where it is somebody else's.
    """

    def __init__(
        self, open_scorer: Callable[[], PromptLogprobs], replica: Replica | None = None, folder: Path | None = None
    ) -> None:
        self._open_scorer, self._replica, self._folder = open_scorer, replica, folder
        try:
            self._scorer = open_scorer()
        except BaseException:
            self.close()
            raise

    def of_samples(self, samples: Sequence[TrainingSample]) -> list[TeacherTokens]:
        """Return what it says of each sample's tokens.

        Raises:
            ModelError: a sample is too long for it.
            EngineError: the server refuses, or does not answer.
        """
        while True:
            try:
                said = run_until_complete(self._scorer.of_samples(samples))
            except EngineError as error:
                if self._replica is None or self._replica.is_healthy():
                    raise
                self._replica.restart(str(error), lambda: None)
                self._scorer = self._open_scorer()
            else:
                if self._replica is not None:
                    self._replica.forget_losses()
                return said

    def close(self) -> None:
        """End a server of the run's, and remove what was written for it but the log of one that failed."""
        if self._replica is not None:
            self._replica.close()
            if self._folder is not None and not self._replica.has_failed:
                shutil.rmtree(self._folder, ignore_errors=True)
            self._replica = None


def given_teacher(settings: DistillationSettings, tokenizer: PreTrainedTokenizerBase) -> ServedTeacher:
    """Return the teacher at an address.

    Args:
        settings: of the teacher.
        tokenizer: of the model that learns.

    Raises:
        ConfigError: the address is none.
        EngineError: no vLLM server answers there, or its model has other tokens.
    """
    try:
        url = api_url(settings.teacher)
    except ConfigError as error:
        raise ConfigError(str(error).replace("--engine", "distillation.teacher")) from None
    return ServedTeacher(lambda: _scorer(url, api_key(), settings, tokenizer, own={}))


def started_teacher(
    config: RunConfig, settings: DistillationSettings, tokenizer: PreTrainedTokenizerBase, compute: Compute
) -> ServedTeacher:
    """Start a server on the teacher, which reads its weights by itself.

    Args:
        config: the run.
        settings: of the teacher.
        tokenizer: of the model that learns.
        compute: how the learner's model is computed, for the type of the server's products.

    Raises:
        ModelError: the teacher is an adapter, or cannot be found.
        EngineError: the server does not start.
    """
    place = teacher_place(config)
    assert place is not None, "a server that the run starts has a model of its own"
    if base := adapter_base(locate(place)):
        raise ModelError(
            f"distillation.teacher: {place} is an adapter of {base}, which a server for teachers does not load. Use "
            "distillation.engine: local, or merge it: reasonrl export RUN@STEP --to DIR."
        )
    folder = Path(mkdtemp(prefix="reasonrl-teacher-"))
    inputs = EngineInputs(
        model=load_skeleton(place),
        tokenizer=tokenizer,
        compute=compute,
        device=run_device(config.model.device),
        weight_names=frozenset(),
        vllm=_vllm_settings(settings),
        weights_from=locate(place),
    )
    # The servers that sample for the run, which come first, have the GPUs behind the learner's.
    first = config.vllm.replicas if config.rollout.engine.name not in (SHARING_ENGINE, "vllm") else 0
    (replica,) = own_replicas(folder / "model", inputs, "file", beside_learner=True, first=first)
    replica.name = "the teacher's vLLM server"
    try:
        replica.launch()
        replica.wait_until_ready(lambda: None)
    except BaseException:
        replica.close()
        raise

    def scorer() -> PromptLogprobs:
        return _scorer(api_url(replica.url), None, settings, tokenizer, own=OWN_SERVER)

    return ServedTeacher(scorer, replica, folder)


def _vllm_settings(settings: DistillationSettings) -> VLLMSettings:
    """Return how the server is run: with room for as many log-probabilities as are asked for."""
    asked = {"max_logprobs": settings.top_k} if settings.top_k else {}
    return settings.vllm.model_copy(update={"options": {**asked, **settings.vllm.options}})


def _scorer(
    url: URL,
    key: str | None,
    settings: DistillationSettings,
    tokenizer: PreTrainedTokenizerBase,
    *,
    own: dict[str, Any],  # Any: arguments of the client
) -> PromptLogprobs:
    """Find out what a server serves, and whether its model has the policy's tokens.

    Raises:
        EngineError: no vLLM server answers, or its model has other tokens.
    """
    opening = EndpointClient(url, key, **OPENING)
    client = EndpointClient(url, key, max_concurrent=settings.max_concurrent, timeout_s=settings.timeout_s, **own)

    async def opened() -> PromptLogprobs:
        served = _served(await opening.get(url / "models"), url)
        await require_same_tokenizer(opening, served["id"], tokenizer)
        return PromptLogprobs(
            client=client,
            model=served["id"],
            max_model_len=served.get("max_model_len"),
            top_k=settings.top_k,
            vocabulary=len(tokenizer),
        )

    return run_until_complete(opened())


def _served(answer: Any, url: URL) -> dict[str, Any]:
    """Return the first model that a vLLM server lists. Any: JSON values.

    Raises:
        EngineError: it is no such list.
    """
    listed = answer.get("data") if isinstance(answer, dict) else None
    models = [entry for entry in listed or () if isinstance(entry, dict) and entry.get("owned_by") == "vllm"]
    if not models:
        raise EngineError(
            f"distillation.teacher: {url} is no vLLM server. Log-probabilities of given tokens are what vLLM alone "
            "tells: start one, python -m vllm.entrypoints.openai.api_server --model TEACHER."
        )
    return models[0]
