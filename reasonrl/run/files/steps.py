"""How files and folders of a run are named after steps."""

import re
from pathlib import Path


def folder_name(step: int) -> str:
    """Name what belongs to a step; names sort like steps."""
    return f"step_{step:06d}"


def by_step(folder: Path) -> list[tuple[int, Path]]:
    """List files and folders named after a step, the earliest first."""
    named = [(re.fullmatch(r"step_(\d{6,})(\.jsonl)?", path.name), path) for path in folder.glob("step_*")]
    return sorted((int(match[1]), path) for match, path in named if match)
