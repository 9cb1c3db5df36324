"""A pipeline from its first stage to the table, which is left in its folder as text, JSON and a page."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from reasonrl.config.stages import Pipeline
from reasonrl.evaluation.files import to_json
from reasonrl.run.pipeline.execute import run_stages
from reasonrl.run.pipeline.measuring import Progress, measure_stages
from reasonrl.run.pipeline.page import pipeline_page
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
    run_stages(pipeline, say, overwrite=overwrite, quiet=quiet)
    found = stage_table(pipeline, measure_stages(pipeline, say, progress))
    contents = {
        f"{TABLE}.txt": f"{found.text}\n".encode(),
        f"{TABLE}.json": to_json(found.values),
        REPORT: pipeline_page(found.values, pipeline.config.description).encode(),
    }
    with disk_errors(pipeline.folder, "then give the command again."):
        for name, content in contents.items():
            write_atomically(pipeline.folder / name, content)
    return found


def has_table(folder: Path) -> bool:
    """Say whether a folder is that of a pipeline that was run to its end."""
    return (folder / f"{TABLE}.json").is_file()
