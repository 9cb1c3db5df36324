"""Copy the pages where Sphinx reads them: the documents, pages for the code that they link to, and a navigation."""

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from os.path import relpath
from pathlib import Path
from typing import Final

from tools.site.navigation import NAVIGATION, OTHERS

ROOT: Final = Path(__file__).parent.parent.parent

HOME: Final = Path("README.md")
"""The first page of the site, its index."""

INDEX: Final = Path("index.md")

LINK: Final = re.compile(
    r"(?P<before>\]\()(?P<target>(?!https?://|mailto:|#)[^)\s#]+)(?P<anchor>#[^)\s]*)?(?P<after>\))"
)
FENCE: Final = re.compile(r"^(?P<fence>`{3,})(?P<language>\w*)")

LEXERS: Final = {".py": "python", ".yaml": "yaml", ".sbatch": "bash", ".sh": "bash", ".toml": "toml", ".jinja": "jinja"}
"""How files of code are colored."""

UNKNOWN_LEXERS: Final = {"jsonl": "json"}
"""Languages of code blocks by names that Sphinx does not know."""


def stage(folder: Path, further: Mapping[Path, str]) -> None:
    """Write every page of the site.

    Args:
        folder: to write into.
        further: the text of pages that are no documents, by path.
    """
    code: dict[Path, Path] = {}
    to_write = [*documents()]
    while to_write:
        path = to_write.pop()
        _write(folder / page_of(path), _text(path, code))
        to_write += [linked for linked in code if code[linked] == path and linked not in documents()]
    for path, text in further.items():
        _write(folder / path, text)
    home = folder / INDEX
    listed = [*further, *map(page_of, sorted(code))]
    home.write_text(home.read_text(encoding="utf-8") + "".join(_toctrees(listed)), encoding="utf-8")
    shutil.copytree(ROOT / "docs" / "images", folder / "docs" / "images")


@cache
def documents() -> list[Path]:
    """Return all documents of the repository, from its root."""
    docs = (path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.md"))
    return [HOME, *map(Path, OTHERS), *sorted(docs)]


def page_of(path: Path) -> Path:
    """Return the page of a document, or of a file or folder of code."""
    if path == HOME:
        return INDEX
    if path in documents():
        return path
    return Path("code") / (path if path.suffix == ".md" else f"{path}.md")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _text(path: Path, code: dict[Path, Path]) -> str:
    """Return a page with its links as they are in the site; code that it is the first to link to is noted with it."""

    def linked(match: re.Match[str]) -> str:
        place = (ROOT / path).parent.joinpath(match["target"]).resolve().relative_to(ROOT)
        if place not in documents() and place.parts[:2] != ("docs", "images"):
            code.setdefault(place, path)
        return f"{match['before']}{_target(path, place)}{match['anchor'] or ''}{match['after']}"

    if path.suffix not in (".md", ".ipynb"):
        return _code_text(path)
    text = (ROOT / path).read_text(encoding="utf-8")
    lines = (text if path.suffix == ".md" else _notebook(text)).splitlines(keepends=True)
    return "".join(_outside_code(lines, lambda line: LINK.sub(linked, line)))


def _target(path: Path, place: Path) -> str:
    """Return where a link leads from the page of a path: to a picture, or to the page of a document or of code."""
    is_picture = place.parts[:2] == ("docs", "images")
    return relpath(place if is_picture else page_of(place), page_of(path).parent)


def _outside_code(lines: Iterable[str], change: Callable[[str], str]) -> Iterator[str]:
    """Yield lines, those that are no code changed."""
    fence = ""
    for line in lines:
        opening = FENCE.match(line)
        if fence:
            fence = "" if opening and opening["fence"] == fence else fence
            yield line
        elif opening:
            fence = opening["fence"]
            language = opening["language"]
            yield line.replace(language, UNKNOWN_LEXERS.get(language, language), 1)
        else:
            yield change(line)


def _code_text(path: Path) -> str:
    """Return the page of a file of code, or of a folder: the names and first sentences of what is in it."""
    place = ROOT / path
    if place.is_dir():
        files = sorted(file for file in place.iterdir() if file.suffix in LEXERS and file.is_file())
        return f"# {path}\n\n" + "".join(f"## {file.name}\n\n{_block(file)}\n" for file in files)
    return f"# {path}\n\n{_block(place)}"


def _notebook(text: str) -> str:
    """Return the cells of a notebook as a page: what is written, and what is run."""
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]
    return "\n\n".join(source if kind == "markdown" else f"```python\n{source}\n```" for kind, source in cells) + "\n"


def _block(place: Path) -> str:
    text = place.read_text(encoding="utf-8")
    fence = "`" * (3 + max((len(run) for run in re.findall("`{3,}", text)), default=0))
    return f"{fence}{LEXERS.get(place.suffix, 'text')}\n{text.rstrip()}\n{fence}\n"


def _toctrees(further: Iterable[Path]) -> Iterator[str]:
    """Yield the navigation; pages that are not named in it stand where their folder does."""
    listed = [str(path.with_suffix("")) for path in further]
    for caption, names in NAVIGATION.items():
        pages = [page for name in names for page in _named(name, listed)]
        yield "\n".join(["", "```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```", ""])


def _named(name: str, listed: list[str]) -> list[str]:
    """Return the pages of a name in the navigation: that page, or for ``FOLDER/`` all staged ones in it."""
    return sorted(page for page in listed if page.startswith(name)) if name.endswith("/") else [name]
