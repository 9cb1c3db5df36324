"""Problems from a data set on the Hugging Face hub."""

from collections.abc import Iterator, Sequence

from reasonrl import Problem, Split, UnreachableError
from reasonrl.system.extras import needs_extra
from reasonrl_tasks.columns import Row, problems_of, read_columns


def hub(
    *,
    split: Split,
    seed: int,
    name: str,
    config: str | None = None,
    hub_split: str = "train",
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
    rows = hub_rows(name, config, hub_split, revision)
    source = f"{name} ({hub_split})"
    return problems_of(rows, columns, task="hub", source=source, split=split, heldout_share=heldout_share)


def hub_rows(name: str, config: str | None, hub_split: str, revision: str | None) -> Iterator[Row]:
    """Yield the rows of one of the data set's own splits."""
    with needs_extra("data", f"the data set {name!r}"):
        from datasets import load_dataset
        from datasets.exceptions import DatasetsError

    try:
        rows = load_dataset(name, config, split=hub_split, revision=revision)
    except (OSError, ValueError, DatasetsError) as error:
        cause = " ".join(str(error).split())[:300].rstrip(".")
        raise UnreachableError(
            f"task 'hub': cannot load {name!r}: {cause}. Check name, config, hub_split and the network; "
            "without one, use task 'jsonl' with a file of your own."
        ) from None
    for number, row in enumerate(rows, start=1):
        yield f"{name} ({hub_split}), row {number}", row
