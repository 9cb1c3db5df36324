"""The engines that come with reasonrl, named as in ``rollout.engine``; each is imported when it is made."""

from reasonrl.engines import Engine, EngineInputs


def local(inputs: EngineInputs) -> Engine:
    """Sample from the learner's own module."""
    from reasonrl.engines.local import LocalEngine

    return LocalEngine(inputs.model, inputs.tokenizer, inputs.dtype)


def vllm(inputs: EngineInputs) -> Engine:
    """Start vLLM in this process."""
    from reasonrl.engines.vllm.in_process import VLLMEngine

    return VLLMEngine(inputs)


def vllm_server(inputs: EngineInputs) -> Engine:
    """Start vLLM servers, or use those at ``vllm.urls``."""
    from reasonrl.engines.vllm.server import VLLMServerEngine

    return VLLMServerEngine(inputs)
