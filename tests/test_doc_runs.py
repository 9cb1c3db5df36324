"""Every run file that the documentation shows teaches the tiny model something, measured on held-out problems."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from doc_files import ROOT, shown_run_files, write_files

from reasonrl.config.kinds import recognize
from reasonrl.config.runfile import load_any
from reasonrl.config.yaml import read_value
from reasonrl.run.start import start_run

pytestmark = pytest.mark.slow

SHORTER: Final = ("run.steps=3", "evaluation.every=3", "evaluation.suites.0.params.num_problems=60")
"""Settings under which a run of the tiny model takes seconds; most of what it learns, it learns in the first steps."""


def runs(*, of: str) -> list[Any]:
    """Return the document, the name and the text of each run file of a kind that this machine can train."""
    return [
        pytest.param(path, text, id=f"{path.relative_to(ROOT)}:{config['name']}")
        for path, text in shown_run_files()
        for config in [read_value(text)]
        if recognize(config).name == of and config["name"] not in ELSEWHERE
    ]


ELSEWHERE: Final = {
    "my-code": "a model of the hub, for a GPU",
    "judged": "a server with a language model",
    "helpful-rm": "a file of pairs that two commands make",
    "helpful": "the reward model of helpful-rm",
    "pleasing-sums": "the reward model of sums-rm",
}
"""Run files that need something that is not here. They are loaded with the rest of the documentation."""


@pytest.mark.parametrize(("path", "text"), runs(of="policy"))
def test_a_run_that_is_shown_learns(path: Path, text: str, in_folder: Path) -> None:
    before, after = trained(path, text, in_folder, SHORTER)
    assert after - before >= 0.2, (before, after)


def trained(path: Path, text: str, folder: Path, overrides: Sequence[str]) -> tuple[float, float]:
    """Train a run file beside the files of its page; return its first held-out figure and its last."""
    write_files(path, folder)
    (folder / "shown.yaml").write_text(text)
    pretraining = ["critic.pretrain_steps=1"] if "critic" in read_value(text) else []
    # Worker processes would take longer to start than such a run.
    in_process = [f"rewards.{index}.isolated=false" for index in range(len(read_value(text)["rewards"]))]
    assert start_run(folder / "shown.yaml", [*overrides, *pretraining, *in_process], [], argv=[]) == "finished"
    name = load_any(folder / "shown.yaml").name
    steps = [json.loads(line) for line in (folder / "runs" / name / "metrics.jsonl").read_text().splitlines()]
    (suite,) = {key for step in steps for key in step if key.startswith("heldout/") and key.count("/") == 1}
    figures = [step[suite] for step in steps if suite in step]
    return figures[0], figures[-1]
