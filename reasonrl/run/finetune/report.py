"""What a run of SFT, DPO or KTO achieved, in words."""

from collections.abc import Sequence

from reasonrl.evaluation.compare_text import render_comparison
from reasonrl.evaluation.files import read_measured
from reasonrl.evaluation.primaries import Model, compare_models
from reasonrl.plugins.types import Suite
from reasonrl.run.files.directory import RunDirectory


def summary(directory: RunDirectory, num_steps: int, suites: Sequence[Suite]) -> str:
    """Return the comparison of the last evaluation with the one before the first step, and where the model is."""
    models = [
        Model(
            name=name, measured={suite.name: read_measured(directory.eval_folder(step, suite.name)) for suite in suites}
        )
        for name, step in (("base", 0), (f"step {num_steps}", num_steps))
    ]
    pairs = compare_models(models) if suites else ()
    tables = [render_comparison(pair.comparison, pair.a, pair.b) for pair in pairs]
    where = f"Run: {directory.path}   Checkpoint: {directory.checkpoints()[num_steps]}"
    return "\n\n".join([*tables, where])
