"""The gallery: every recipe with what it does, its run file, and the curves of a run of it where there is a picture."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parent.parent.parent
RECIPES: Final = ROOT / "configs" / "reasonrl_configs"
PICTURES: Final = ROOT / "docs" / "images" / "recipes"

HEAD: Final = """\
# Recipes

Run files that come with the package. `reasonrl plan NAME` says what one takes on this machine, `reasonrl config show
NAME` prints it with every default. The curves are those of a run that was trained for this page; `reasonrl report`
draws them of yours.
"""


def gallery_pages() -> Mapping[Path, str]:
    """Return the page by its path."""
    recipes = {path.stem: path for path in sorted(RECIPES.glob("*.yaml"))}
    pictured = sorted(recipes, key=lambda name: not (PICTURES / f"{name}.svg").is_file())
    return {Path("gallery.md"): "\n".join([HEAD, *(_recipe(name, recipes[name]) for name in pictured)])}


def _command(settings: Mapping[str, Any]) -> str:
    """Return the command of a run file. Any: as in YAML."""
    if "stages" in settings:
        return "pipeline"
    finetuning = next((kind for kind in ("sft", "dpo", "kto") if kind in settings), None)
    return finetuning or ("rm train" if "pairs_per_step" in settings else "train")


def _recipe(name: str, path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    settings: Mapping[str, Any] = yaml.safe_load(text)  # Any: a run file
    command = _command(settings)
    picture = PICTURES / f"{name}.svg"
    shown = f"![Curves of a run of {name}]({picture.relative_to(ROOT)})\n" if picture.is_file() else ""
    fetched = re.search(r"reasonrl models get [\w.-]+", text)
    first = f"{fetched[0]}\n" if fetched else ""
    return (
        f"## {name}\n\n{settings['description']}\n\n```bash\n{first}reasonrl {command} {name}\n```\n\n{shown}\n"
        f"```yaml\n{text.rstrip()}\n```\n"
    )
