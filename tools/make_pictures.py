"""Draw the curves of recipes for the documentation, from runs that were really trained.

    reasonrl train quickstart
    python tools/make_pictures.py runs/quickstart runs/countdown-tiny

Each picture goes to docs/images/recipes, under the name of the recipe that the run is of; the site's gallery and the
README show it. A run that is not finished, or whose settings are not those of a recipe, is refused.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from reasonrl.config.find import find_run
from reasonrl.config.runfile import load_any
from reasonrl.config.stages import is_pipeline_file
from reasonrl.errors import ConfigError, ReasonRLError
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.report.picture import write_picture

PICTURES = Path(__file__).parent.parent / "docs" / "images" / "recipes"

PLACES = {"name", "run", "description"}
"""Settings that may differ: where a run lies, and what it is called."""


def main(argv: Sequence[str] | None = None) -> int:
    """Draw every run; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="directory of a finished run of a recipe")
    parser.add_argument("--out", type=Path, default=PICTURES, help="folder of the pictures (%(default)s)")
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        for run in options.runs:
            picture = options.out / f"{recipe_of(run)}.svg"
            write_picture([run], picture)
            print(picture)
    except ReasonRLError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def recipe_of(path: Path) -> str:
    """Return the recipe that a run is of.

    Raises:
        ConfigError: the run is not finished, or of none.
    """
    run = RunDirectory.open(path)
    if run.manifest.status != "finished":
        raise ConfigError(f"{path}: is {run.manifest.status}; a picture shows a whole run.")
    settings = run.config.model_dump(exclude=PLACES)
    for name in Plugins().entries("configs"):
        if is_pipeline_file(file := find_run(name)):
            continue
        recipe = load_any(file)
        if recipe.model_dump(exclude=PLACES) == settings and recipe.run.steps == run.config.run.steps:
            return name
    raise ConfigError(f"{path}: has the settings of no recipe.")


if __name__ == "__main__":
    sys.exit(main())
