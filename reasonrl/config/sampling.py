"""Settings of how completions are sampled, and of vLLM."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field, field_validator

from reasonrl.config.base import PluginRef, Settings, require_installed

MAX_ASYNC_STEPS: Final = 64
"""Most steps that sampling may run ahead."""


class RolloutSettings(Settings):
    """How completions are sampled."""

    engine: Annotated[PluginRef, require_installed("engines")] = PluginRef(name="local")
    """What samples: ``local`` is the learner's own module, ``vllm`` is vLLM in this process, ``vllm_server`` is vLLM
    servers over HTTP; another installed engine, by name."""
    prompts_per_step: int = Field(16, ge=1)
    """Problems in one optimizer step."""
    samples_per_prompt: int = Field(8, ge=1)
    """Completions of each problem; at least 2 where a completion is measured against its siblings, as it is by every
    advantage estimator but ``gae`` and ``batch_normalized``."""
    max_new_tokens: int = Field(256, ge=1)
    """Longest completion; a longer one is cut and counts as truncated."""
    temperature: float = Field(1.0, gt=0)
    """Sampling temperature; log-probabilities are taken under it too."""
    stop: list[str] = Field([])
    """Strings that end a completion, beside the model's end-of-sequence tokens."""
    token_entropy: bool = False
    """Record the entropy of the distribution that each token was drawn from, beside its log-probability, for
    ``reasonrl view``. It changes no token; engine ``local`` alone can."""
    timeout_s: float | None = Field(None, gt=0)
    """Longest time in seconds that sampling one step may take before the run stops, or one group where ``async_steps``
    is 2 or more; null waits for ever."""
    verify_every: int = Field(10, ge=1)
    """Steps between comparisons of an engine's log-probabilities with the learner's, beside the one at the start; an
    engine that samples from the learner's own module needs none."""
    async_steps: int = Field(0, ge=0, le=MAX_ASYNC_STEPS)
    """Steps that sampling runs ahead. 1 samples the next step while this one is learned, with weights one step old; a
    run is a function of its configuration. From 2 on groups are sampled all the time, new weights are loaded meanwhile,
    and a step takes groups as they finish."""
    max_staleness: int | None = Field(None, ge=1)
    """Most weight updates between sampling a group and learning from it. With ``async_steps: 1`` older groups are left
    out; null keeps all, which are never older than the updates of one step. From 2 on a step waits for groups before
    they are older; null is the updates of twice ``async_steps`` steps."""

    @field_validator("stop")
    @classmethod
    def _refuse_empty_stops(cls, given: list[str]) -> list[str]:
        """An empty stop string would end every completion at once."""
        if "" in given:
            raise ValueError("holds an empty string, which would end every completion at once")
        return given


class VLLMSettings(Settings):
    """How vLLM is run, where ``rollout.engine`` is ``vllm`` or ``vllm_server``."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of its weights and products; ``auto`` takes the learner's type of products."""
    gpu_memory_utilization: float = Field(0.4, gt=0, le=1)
    """Share of the GPU's memory for weights and keys and values; the learner needs the rest when it is on the same."""
    cpu_kv_cache_gib: float = Field(1.0, gt=0)
    """Memory for keys and values on a CPU, in GiB."""
    max_model_len: int | None = Field(None, ge=1)
    """Longest prompt with completion, in tokens; null takes the model's limit."""
    max_num_seqs: int = Field(256, ge=1)
    """Most completions sampled side by side."""
    enforce_eager: bool | None = None
    """Whether to run without compilation and graphs; null does so on a CPU only, where they cost a minute of start."""
    sleep: bool = True
    """Whether an engine in this process gives its GPU memory to the learner while that learns."""
    replicas: int = Field(1, ge=1)
    """Servers to start, where no ``urls`` are given."""
    urls: list[str] = Field([])
    """Servers that run already, such as ``http://10.0.0.2:8000``, started as docs/vllm.md says."""
    weights: Literal["auto", "file", "nccl", "ipc"] = "auto"
    """How weights reach a server: through a file (``auto``). ``nccl`` (from GPU to GPU) and ``ipc`` (through a GPU's
    memory) are experimental: no test runs them, and they reach one server."""
    weights_folder: str | None = None
    """Folder that learner and servers see under one path, for weights that go through a file; null uses this machine's
    memory, and servers on other machines need one."""
    start_timeout_s: float = Field(600.0, gt=0)
    """Longest time until a server answers."""
    options: dict[str, Any] = Field({})
    """Further arguments of vLLM's own, such as ``tensor_parallel_size``; names that it does not know are refused."""

    @field_validator("urls")
    @classmethod
    def _refuse_other_addresses(cls, given: list[str]) -> list[str]:
        """Refuse what is no address of a server."""
        bad = [url for url in given if not url.startswith(("http://", "https://"))]
        if bad:
            raise ValueError(f"{bad[0]!r} is not the address of a server: write http://HOST:PORT")
        return given
