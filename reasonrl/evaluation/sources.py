"""What an evaluation samples with: an engine, with the environment that makes its prompts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from reasonrl.engines import Engine, SamplingParams
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import Suite
from reasonrl.rollout.environment import Environment, SingleTurn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from reasonrl.rollout.templates import Renderer


class SampleSource(Protocol):
    """Samples the completions of held-out suites: a model loaded for that, an endpoint, or a run's own engine."""

    @property
    def name(self) -> str:
        """What results record: an engine's name, or the address of an endpoint."""
        ...

    @property
    def facts(self) -> Mapping[str, object]:
        """What else results record, as JSON values: types, versions, device."""
        ...

    @property
    def engine(self) -> Engine:
        """Its ``generate`` is what :meth:`environment` runs with; its ``abort`` ends what runs."""
        ...

    def environment(self, suite: Suite, template: str) -> Environment:
        """Return what makes a suite's prompts with a template and conducts its conversations.

        Raises:
            ModelError: there is no such template, or the model cannot be prompted with it.
        """
        ...

    def close(self) -> None:
        """Free everything. Closing twice is closing once."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSource:
    """An engine that takes token ids, with the tokenizer of its model."""

    name: str
    engine: Engine
    tokenizer: "PreTrainedTokenizerBase"
    plugins: Plugins
    """Where templates come from."""
    facts: Mapping[str, object] = field(default_factory=dict)

    def environment(self, suite: Suite, template: str) -> Environment:
        """Render problems with the template; every conversation is one completion."""
        return SingleTurn(renderer=self.renderer(template), params=sampling_params(suite))

    def renderer(self, template: str) -> "Renderer":
        """Return what makes prompts with a template."""
        from reasonrl.rollout.templates import Renderer, find_template

        return Renderer(self.tokenizer, find_template(template, self.plugins))

    def close(self) -> None:
        """Close the engine."""
        self.engine.close()


def sampling_params(suite: Suite) -> SamplingParams:
    """Return how the completions of a suite are sampled."""
    return SamplingParams(
        max_new_tokens=suite.max_new_tokens, temperature=suite.temperature, top_p=suite.top_p, stop=suite.stop
    )
