"""How rows become tokens with a mask: the very prompt that the loop and the evaluations render, then what is learned.

Each row has the tokens of its prompt as :class:`~reasonrl.rollout.templates.Renderer` makes them. What follows is
tokenized together with the prompt where that leaves the prompt's tokens as they are (as TRL does it), and alone where
tokens would merge across the border, as a sampler goes on after it. The end of the assistant's turn is learned too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from reasonrl.errors import DataError, ModelError
from reasonrl.finetune.rows import Demonstration, JudgedCompletion, PreferencePair
from reasonrl.plugins.boundary import TIMEOUT_S
from reasonrl.plugins.types import Template
from reasonrl.rollout.templates import Renderer
from reasonrl.types import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class TaughtTokens:
    """A row as tokens, and which of them have a loss."""

    ids: tuple[int, ...]
    mask: tuple[bool, ...]
    """True for the tokens that are learned."""


@dataclass(frozen=True, slots=True)
class PairTokens:
    """A pair as tokens; each completion goes on after the prompt."""

    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class JudgedTokens:
    """A judged completion as tokens."""

    prompt: tuple[int, ...]
    completion: tuple[int, ...]
    is_good: bool


@dataclass(frozen=True, slots=True)
class _Text:
    """Text of a prompt or of more, and its tokens."""

    text: str
    ids: tuple[int, ...]


class RowEncoder:
    """Makes tokens of rows with one tokenizer and one template.

    Args:
        tokenizer: the model's.
        template: the run's.
        end_id: the token that ends an answer; see :func:`end_id_of`.
        max_length: longer rows are None.
        timeout_s: longest time in seconds of filling in the template for one row; None is no limit.

    Raises:
        ModelError: the template is a chat and the tokenizer has no chat template.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        template: Template,
        *,
        end_id: int,
        max_length: int,
        timeout_s: float | None = TIMEOUT_S,
    ) -> None:
        self.template = template
        self._tokenizer = tokenizer
        self._end_id = end_id
        self._max_length = max_length
        self._timeout_s = timeout_s
        self._renderers = {"": Renderer(tokenizer, template, timeout_s=timeout_s)}
        as_it_is = Template("{{ prompt }}", chat=template.chat, name=template.name)
        self._as_it_is = Renderer(tokenizer, as_it_is, timeout_s=timeout_s)

    def demonstration(self, row: Demonstration) -> TaughtTokens | None:
        """Return a conversation with its mask; None where it is too long.

        Raises:
            DataError: the template leaves out turns of it, or writes earlier ones otherwise once they have an answer.
        """
        renderer = self._renderer(row)
        self._refuse_lost_turns(row.problem)
        done, mask = _Text("", ()), list[bool]()
        for text, is_taught in self._parts(renderer, row):
            self._require_kept(text.startswith(done.text), row)
            done = self._more(done, text)
            mask += [is_taught] * (len(done.ids) - len(mask))
        after = self._after(done, row.completion, is_cut=row.is_cut)
        return self._fitting(done.ids + after, (*mask, *(True for _ in after)))

    def pair(self, row: PreferencePair) -> PairTokens | None:
        """Return a pair; None where one of its completions is too long."""
        prompt = self._row_prompt(row)
        chosen, rejected = (
            self._after(prompt, text, is_cut=is_cut)
            for text, is_cut in zip((row.chosen, row.rejected), row.is_cut, strict=True)
        )
        is_short = len(prompt.ids) + max(len(chosen), len(rejected)) <= self._max_length
        return PairTokens(prompt.ids, chosen, rejected) if is_short else None

    def judged(self, row: JudgedCompletion) -> JudgedTokens | None:
        """Return a judged completion; None where it is too long."""
        prompt = self._row_prompt(row)
        after = self._after(prompt, row.completion, is_cut=row.is_cut)
        is_short = len(prompt.ids) + len(after) <= self._max_length
        return JudgedTokens(prompt.ids, after, row.is_good) if is_short else None

    def _row_prompt(self, row: PreferencePair | JudgedCompletion) -> _Text:
        self._refuse_lost_turns(row.problem)
        return self._prompt(self._as_it_is if row.is_rendered else self._renderers[""], row.problem)

    def _prompt(self, renderer: Renderer, problem: Problem) -> _Text:
        return _Text(*renderer.render(problem))

    def _renderer(self, row: Demonstration) -> Renderer:
        """Return what makes the prompt of a row: the template, with the row's own system prompt if it has one."""
        if row.is_rendered:
            return self._as_it_is
        if row.system not in self._renderers:
            template = with_system(self.template, row.system)
            self._renderers[row.system] = Renderer(self._tokenizer, template, timeout_s=self._timeout_s)
        return self._renderers[row.system]

    def _refuse_lost_turns(self, problem: Problem) -> None:
        if problem.messages and not self.template.chat:
            raise DataError(
                f"template {self.template.name!r} renders the last message alone, and rows are conversations, such as "
                f"the one that ends with {problem.prompt[:60]!r}. Use a template that is a chat, such as chat."
            )

    def _parts(self, renderer: Renderer, row: Demonstration) -> Iterator[tuple[str, bool]]:
        """Yield the conversation before its last answer up to each border between what is learned and what is not."""
        messages = renderer.messages(row.problem) if row.teaches_earlier else []
        end = str(self._tokenizer.convert_ids_to_tokens(self._end_id))
        for at, message in enumerate(messages):
            if message["role"] == "assistant":
                before, through = self._chat(messages[:at], is_open=True), self._chat(messages[: at + 1], is_open=False)
                answer, ended, _ = through.removeprefix(before).rpartition(end)
                self._require_kept(through.startswith(before) and bool(ended), row)
                yield before, False
                yield before + answer + end, True
        yield renderer.text(row.problem), False

    def _require_kept(self, is_kept: bool, row: Demonstration) -> None:
        """Refuse conversations whose earlier turns a model would never see as they are learned."""
        if not is_kept:
            raise DataError(
                f"the chat template of {self._tokenizer.name_or_path!r} writes an earlier turn of the assistant "
                f"otherwise once the conversation goes on (the one that ends with {row.problem.prompt[:60]!r}), or "
                "does not end it with a token of its own: split such rows into 'prompt' and 'completion'."
            )

    def _chat(self, messages: Sequence[dict[str, str]], *, is_open: bool) -> str:
        """Return a conversation as the chat template writes it, with the beginning of an answer where it is open."""
        return str(self._tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=is_open))

    def _more(self, done: _Text, text: str) -> _Text:
        """Return a longer text whose first tokens are those of the text that it begins with."""
        ids = self._ids(text, is_beginning=True)
        if ids[: len(done.ids)] != done.ids:
            ids = done.ids + self._ids(text[len(done.text) :], is_beginning=not done.text)
        return _Text(text, ids)

    def _after(self, prompt: _Text, completion: str, *, is_cut: bool) -> tuple[int, ...]:
        """Return the tokens of a completion after its prompt, and the end unless it was cut."""
        ids = self._more(prompt, prompt.text + completion).ids[len(prompt.ids) :]
        has_end = ids[-1:] == (self._end_id,)  # some data sets have written it into their texts
        return ids if is_cut or has_end else (*ids, self._end_id)

    def _ids(self, text: str, *, is_beginning: bool) -> tuple[int, ...]:
        """Return the tokens of a text; special ones at its beginning where the template is no chat, as in the loop."""
        special = is_beginning and not self.template.chat
        ids: Any = self._tokenizer(text, add_special_tokens=special)["input_ids"]
        if special and len(ids) > 1 and ids[-1] == self._tokenizer.eos_token_id:  # some tokenizers add it
            ids = ids[:-1]
        return tuple(ids)

    def _fitting(self, ids: tuple[int, ...], mask: tuple[bool, ...]) -> TaughtTokens | None:
        return TaughtTokens(ids, mask) if len(ids) <= self._max_length else None


def with_system(template: Template, system: str) -> Template:
    """Return a template with a system prompt: before its own in a chat, before the prompt in any other."""
    if template.chat:
        return replace(template, system="\n\n".join(filter(None, (system, template.system))))
    return replace(template, text=f"{{% raw %}}{system}{{% endraw %}}\n\n{template.text}")


def end_id_of(tokenizer: "PreTrainedTokenizerBase", template: Template) -> int:
    """Return the token that ends an answer: in a chat the one that the chat template puts there.

    Raises:
        ModelError: the tokenizer has none.
    """
    from reasonrl.engines.tokens import turn_terminator

    of_chat = turn_terminator(tokenizer) if template.chat else None
    end = tokenizer.eos_token_id if of_chat is None else of_chat
    if end is None:
        raise ModelError(f"the tokenizer of {tokenizer.name_or_path!r} has no end-of-sequence token.")
    return int(end)
