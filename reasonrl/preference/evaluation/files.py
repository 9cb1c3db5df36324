"""The files of a judgement: figures, a page for people, and the pairs with their scores."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from reasonrl.errors import RunError
from reasonrl.preference.evaluation.judgement import Judgement, pair_line
from reasonrl.preference.evaluation.page import judgement_page
from reasonrl.preference.evaluation.scored import ScoredPair
from reasonrl.system.atomic import write_together
from reasonrl.system.disk import disk_errors

REPORT: Final = "report.json"
PAGE: Final = "report.html"
SCORES: Final = "pairs.jsonl"


def report_folder(model: str, source: str, out: Path | None) -> Path:
    """Return where a report belongs: ``results/MODEL/PAIRS`` where nothing is said."""
    return out or Path("results") / _slug(model) / _slug(Path(source).stem)


def refuse_existing(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that has a report, before anything heavy is loaded.

    Raises:
        RunError: it has one, and is not to be overwritten.
    """
    if not overwrite and any((folder / name).exists() for name in (REPORT, PAGE, SCORES)):
        raise RunError(f"{folder} has a report already. Give --out FOLDER, or --overwrite to replace it.")


def write_report(folder: Path, judgement: Judgement, pairs: Sequence[ScoredPair]) -> None:
    """Write the three files, or leave what the folder held as it was; the figures come last.

    Raises:
        RunError: the disk is full, or may not be written.
    """
    contents = {
        SCORES: "".join(map(pair_line, pairs)),
        PAGE: judgement_page(judgement, pairs),
        REPORT: judgement.to_json(),
    }
    with disk_errors(folder, "then evaluate the model again."):
        folder.mkdir(parents=True, exist_ok=True)
        # A model's text may hold half of a surrogate pair, which UTF-8 has no bytes for.
        write_together({folder / name: text.encode("utf-8", "backslashreplace") for name, text in contents.items()})


def _slug(name: str) -> str:
    return name.strip("./~").replace("/", "--") or "model"
