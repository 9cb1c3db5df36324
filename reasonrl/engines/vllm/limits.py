"""What is known of vLLM without importing it: the tested versions, and the lowest temperature."""

from packaging.specifiers import SpecifierSet

from reasonrl.engines import SamplingParams
from reasonrl.errors import ConfigError, EngineError

INSTALL = "Install it with: pip install 'reasonrl[vllm]'. Without a CUDA device, see docs/vllm.md."

TESTED = SpecifierSet(">=0.28,<0.33")
"""Versions of vLLM that this package was written for; the extra ``vllm`` asks for the same."""

MIN_TEMPERATURE = 0.01
"""vLLM raises lower temperatures to this one, except 0."""


def require_tested(version: str, *, whose: str = "installed") -> None:
    """Refuse a version of vLLM that this package was not written for.

    Raises:
        EngineError: the version is outside the range.
    """
    if not TESTED.contains(version, prereleases=True):
        raise EngineError(f"vLLM {version} is {whose}, but this reasonrl works with vllm{TESTED}. {INSTALL}")


def refuse_too_cold(params: SamplingParams) -> None:
    """Refuse a temperature under which vLLM would not sample.

    Raises:
        ConfigError: it is above 0 and below what vLLM takes.
    """
    if 0 < params.temperature < MIN_TEMPERATURE:
        raise ConfigError(
            f"the temperature is {params.temperature}, but vLLM samples at {MIN_TEMPERATURE} or more: raise it, or use "
            "the engine local."
        )
