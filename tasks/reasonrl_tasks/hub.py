"""Problems from any data set on the Hugging Face hub, or from the same data at another place."""

from collections.abc import Sequence

from reasonrl import Problem, Split
from reasonrl_tasks.columns import problems_of, read_columns
from reasonrl_tasks.sources import HubSource, read_source


def hub(
    *,
    split: Split,
    seed: int,
    name: str,
    config: str | None = None,
    hub_split: str = "train",
    data: str | None = None,
    question: str = "question",
    answer: str = "answer",
    answer_pattern: str | None = None,
    messages: str | None = None,
    revision: str | None = None,
    heldout_share: float = 0.0,
) -> Sequence[Problem]:
    r"""Read problems from a data set that ``datasets.load_dataset`` knows; other columns go to ``meta``.

    Args:
        split: which side of our split to return; see ``heldout_share``.
        seed: not used: the data set is fixed, so there is nothing to draw.
        name: the data set, such as ``openai/gsm8k``.
        config: its configuration, where it has several, such as ``main``.
        hub_split: its own split to read, such as ``train`` or ``test``.
        data: a file or folder with the same data, in place of the hub.
        question: column of the question.
        answer: column of the answer.
        answer_pattern: regular expression whose one group is the answer within its column, such as
            ``####\s*(.+)`` for GSM8K.
        messages: column of a conversation, read in place of ``question``.
        revision: commit, tag or branch; a commit fixes the data for good.
        heldout_share: share of the problems that is held out; 0 returns all for either split.

    Raises:
        DataError: the data set cannot be loaded, or a row cannot be used; rows are counted from 1.
    """
    del seed
    columns = read_columns(question=question, answer=answer, answer_pattern=answer_pattern, messages=messages)
    rows = read_source(HubSource(name, config, hub_split), data=data, revision=revision)
    source = data or f"{name} ({hub_split})"
    return problems_of(rows, columns, task="hub", source=source, split=split, heldout_share=heldout_share)
