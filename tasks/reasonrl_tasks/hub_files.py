"""Read data sets that are published with a loading script, which ``datasets`` runs no more."""

from collections.abc import Iterator, Sequence

from reasonrl import UnreachableError
from reasonrl.system.extras import needs_extra
from reasonrl_tasks.columns import Row
from reasonrl_tasks.sources import HubSource, read_source


def read_json_source(
    source: HubSource, hub_files: Sequence[str], *, data: str | None, revision: str | None
) -> Iterator[Row]:
    """Yield the rows of a data set; on the hub from these files of its repository, where any are named.

    Args:
        source: the data set.
        hub_files: files with one JSON object a line, within the repository.
        data: a file or folder that holds it; nothing is then asked of a network.
        revision: commit, tag or branch on the hub.

    Raises:
        DataError: the data cannot be read.
        UnreachableError: the hub cannot be reached, or the data set is published with a script alone.
    """
    if data is not None or not hub_files:
        return _without_script(source, data, revision)
    return _files_of_hub(source, hub_files, revision)


def _without_script(source: HubSource, data: str | None, revision: str | None) -> Iterator[Row]:
    try:
        return read_source(source, data=data, revision=revision)
    except RuntimeError as error:
        if "scripts are no longer supported" not in str(error):
            raise
        raise UnreachableError(
            f"the data set {source.name!r} is published with a loading script, which is not run. Download its "
            "files and give their folder: --data PATH, or in a run file data: PATH under params."
        ) from None


def _files_of_hub(source: HubSource, names: Sequence[str], revision: str | None) -> Iterator[Row]:
    with needs_extra("data", f"the data set {source.name!r}"):
        from datasets import load_dataset
        from datasets.exceptions import DatasetsError

    version = f"@{revision}" if revision is not None else ""
    addresses = [f"hf://datasets/{source.name}{version}/{name}" for name in names]
    try:
        rows = load_dataset("json", data_files=addresses, split="train")
    except (OSError, ValueError, DatasetsError) as error:
        cause = " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
        raise UnreachableError(
            f"cannot load {', '.join(names)} of the data set {source.name!r} from the hub: {cause}. Without a network, "
            "give a file or folder with the same data: --data PATH, or in a run file data: PATH under params."
        ) from None
    return ((f"{source.name}, row {number}", row) for number, row in enumerate(rows, start=1))
