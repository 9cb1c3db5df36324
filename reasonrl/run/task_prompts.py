"""The prompts of a task or suite, with a model's tokenizer or without one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from reasonrl.models import is_remote
from reasonrl.models.folder import require_model_folder
from reasonrl.rollout.templates import FilledTemplate, Renderer, find_template
from reasonrl.run.checkpoints import checkpoint_of
from reasonrl.run.task_report import spread
from reasonrl.run.task_source import TaskSource
from reasonrl.types import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BARE: Final = "bare"
"""Template of a task without a suite: the problem's own text."""


@dataclass(frozen=True)
class PromptMaker:
    """Fills a template in for problems."""

    filled: FilledTemplate
    renderer: Renderer | None
    """With a model's tokenizer; None shows of a chat what is said in it, without the model's marks."""

    def text(self, problem: Problem) -> str:
        """Return the prompt of a problem."""
        if self.renderer is not None:
            return self.renderer.text(problem)
        if self.filled.template.chat:
            return "\n\n".join(message["content"] for message in self.filled.messages(problem))
        return self.filled.filled(problem)

    def token_spread(self, problems: Sequence[Problem]) -> tuple[float, float] | None:
        """Return median and maximum of the prompts' tokens; None without a model."""
        renderer = self.renderer
        return None if renderer is None else spread([len(renderer.render(problem)[1]) for problem in problems])


def prompt_maker(source: TaskSource, model: str | None, template: str | None = None) -> PromptMaker:
    """Return what makes the prompts of a task or suite.

    Args:
        source: whose problems; a suite's own template is used unless another one is named.
        model: a model whose tokenizer renders and counts them; None needs none.
        template: name or file of a template.

    Raises:
        ModelError: there is no such template or model, or they do not go together.
    """
    name = template or (source.suite.template if source.suite is not None else BARE)
    found = find_template(name, source.plugins)
    return PromptMaker(FilledTemplate(found), None if model is None else Renderer(_tokenizer(model), found))


def _tokenizer(model: str) -> "PreTrainedTokenizerBase":
    from reasonrl.models.load import load_tokenizer

    place = checkpoint_of(model)
    if not is_remote(place):
        require_model_folder(place)
    return load_tokenizer(place)
