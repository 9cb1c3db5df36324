"""The engines that come with reasonrl, named as in ``rollout.engine``; each is imported when it is made."""

from reasonrl.engines import Engine, EngineInputs


def local(inputs: EngineInputs, *, kv_cache_mib: int | None = None) -> Engine:
    """Sample from the learner's own module; see :class:`reasonrl.engines.local.LocalEngine`."""
    from reasonrl.engines.local import LocalEngine

    return LocalEngine(
        inputs.model,
        inputs.tokenizer,
        inputs.compute,
        kv_cache_mib=kv_cache_mib,
        token_entropy=inputs.token_entropy,
    )


def vllm(inputs: EngineInputs) -> Engine:
    """Start vLLM in this process."""
    from reasonrl.engines.vllm.in_process import VLLMEngine

    return VLLMEngine(inputs)


def vllm_server(inputs: EngineInputs) -> Engine:
    """Start vLLM servers, or use those at ``vllm.urls``."""
    from reasonrl.engines.vllm.server import VLLMServerEngine

    return VLLMServerEngine(inputs)
