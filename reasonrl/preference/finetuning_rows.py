"""Rows of TRL's schemas from chosen completions: what ``reasonrl sample --schema`` writes and finetuning reads.

Their prompt is what the model saw: the template is filled in already, and the column ``template`` says which one.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from reasonrl.preference.samples import SampleRow
from reasonrl.preference.selection import Choice, Schema, Selection

Prompt: TypeAlias = str | Sequence[Mapping[str, str]]
"""A text, or the messages of a chat."""


def finetuning_row(choice: Choice, selection: Selection, prompt: Prompt, template: str) -> dict[str, Any]:
    """Return one row. Any: JSON values.

    Beside TRL's columns it has ``id``, ``problem_id``, ``template``, and ``score``, ``finish_reason`` and
    ``num_tokens`` of its completion: of a pair those of the chosen one, and the rejected one's under ``rejected_``.

    Args:
        choice: the completions of the row.
        selection: its schema, and what the score is.
        prompt: as the model saw it.
        template: what made it.
    """
    row = choice.row()
    name = f"{row.id}-{choice.bad.id}" if choice.good and choice.bad else row.id
    about = {"id": name, "problem_id": row.problem_id, "template": template, "prompt": prompt}
    return {**about, **_columns(choice, selection.schema, row, prompt), **_facts(choice, selection, row)}


def _columns(choice: Choice, schema: Schema, row: SampleRow, prompt: Prompt) -> dict[str, Any]:
    """Return what TRL's trainers take beside the prompt. Any: JSON values."""
    if schema == "preference":
        assert choice.bad is not None, "a pair has both"
        return {"chosen": _completion(row.completion, prompt), "rejected": _completion(choice.bad.completion, prompt)}
    label = {"label": choice.good is not None} if schema == "kto" else {}
    return {"completion": _completion(row.completion, prompt), **label}


def _facts(choice: Choice, selection: Selection, row: SampleRow) -> dict[str, Any]:
    facts = _about(row, selection)
    if selection.schema != "preference" or choice.bad is None:
        return facts
    return facts | {f"rejected_{name}": value for name, value in _about(choice.bad, selection).items()}


def _about(row: SampleRow, selection: Selection) -> dict[str, Any]:
    return {
        "score": selection.label_of(row),
        "finish_reason": row.finish_reason,
        "num_tokens": row.num_tokens,
    }


def _completion(text: str, prompt: Prompt) -> Prompt:
    return text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]
