"""A pipeline from its first stage to the table, which is left in its folder as text, JSON and a page."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from reasonrl.config.stages import Pipeline
from reasonrl.errors import RunError
from reasonrl.evaluation.files import to_json
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.inputs import load_suite
from reasonrl.run.pipeline.execute import run_stages
from reasonrl.run.pipeline.measuring import Progress, measure_stages
from reasonrl.run.pipeline.page import pipeline_page
from reasonrl.run.pipeline.state import FILE
from reasonrl.run.pipeline.table import stage_table
from reasonrl.system.atomic import write_atomically
from reasonrl.system.disk import disk_errors
from reasonrl.system.summary import Summary

TABLE: Final = "table"
"""Name of the table in the pipeline's folder, as ``.txt`` and ``.json``."""
REPORT: Final = "report.html"


def run_pipeline(
    pipeline: Pipeline, say: Callable[[str], None], progress: Progress, *, overwrite: bool = False, quiet: bool = False
) -> Summary:
    """Do all stages that are not done, measure their models, and return the table.

    Args:
        pipeline: its stages.
        say: shows a person a line.
        progress: shows how far the measurement of a model is.
        overwrite: do all stages anew.
        quiet: write what stages print to standard error.

    Raises:
        RunError: a stage failed, or another process runs the pipeline.
        StoppedError: Ctrl-C was pressed; the same call goes on.
        ReasonRLError: whatever else is wrong with a stage or a suite.
    """
    for suite in pipeline.config.evaluation.suites:
        load_suite(suite, Plugins())  # a mistake in one is told before anything is trained
    run_stages(pipeline, say, overwrite=overwrite, quiet=quiet)
    found = stage_table(pipeline, measure_stages(pipeline, say, progress))
    contents = {
        f"{TABLE}.txt": f"{found.text}\n".encode(),
        f"{TABLE}.json": to_json(found.values),
        REPORT: pipeline_page(found.values).encode(),
    }
    with disk_errors(pipeline.folder, "then give the command again."):
        for name, content in contents.items():
            write_atomically(pipeline.folder / name, content)
    return found


def is_pipeline_folder(folder: Path) -> bool:
    """Say whether a folder is that of a pipeline that was begun."""
    return (folder / FILE).is_file()


def write_page(folder: Path, file: Path) -> None:
    """Write the page of a pipeline that was run to its end.

    Raises:
        RunError: it was not, or the file cannot be written.
    """
    path = folder / f"{TABLE}.json"
    if not path.is_file():
        raise RunError(f"{folder}: the pipeline has no table yet: run it to its end with reasonrl pipeline.")
    with disk_errors(file, "then write the page again."):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, pipeline_page(json.loads(path.read_bytes())).encode())
