"""What is wrong with a built site: links inside it that lead nowhere, and whatever a page would load from a network."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

LOADED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("audio", "embed", "iframe", "img", "input", "script", "source", "track", "video"), "src"),
    "link": "href",
    "object": "data",
}
"""Attributes whose address a browser loads without being asked."""

FOLLOWED: Final[Mapping[str, str]] = {"a": "href", "area": "href"}

UNLOADED_RELATIONS: Final = ("author", "canonical", "next", "prev")
"""What ``link`` may name without a browser loading it."""

IN_STYLES: Final = re.compile(r"""(?:url\(|@import)\s*["']?(https?:|//)[^)"']*""")


@dataclass
class Page(HTMLParser):
    """The addresses in a page, and what can be linked to in it."""

    anchors: set[str] = field(default_factory=set)
    loaded: list[str] = field(default_factory=list)
    followed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    __hash__ = object.__hash__

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag names."""
        given = {name: value or "" for name, value in attrs}
        self.anchors.update(given[name] for name in ("id", "name") if name in given)
        relations = given.get("rel", "").split()
        if tag in FOLLOWED and FOLLOWED[tag] in given:
            self.followed.append(given[FOLLOWED[tag]])
        elif tag in LOADED and LOADED[tag] in given and not set(relations) & set(UNLOADED_RELATIONS):
            self.loaded.append(given[LOADED[tag]])


def faults(site: Path) -> Iterator[str]:
    """Yield a line for each fault."""
    for path in sorted(site.rglob("*.html")):
        page, where = read_page(path), path.relative_to(site)
        for address in page.loaded:
            if is_remote(address):
                yield f"{where}: would load {address}"
        for address in [*page.followed, *page.loaded]:
            if not is_remote(address) and (fault := _unreachable(site, path, address)):
                yield f"{where}: {fault}"
    for path in sorted(site.rglob("*.css")):
        for found in IN_STYLES.finditer(path.read_text(encoding="utf-8")):
            yield f"{path.relative_to(site)}: would load {found[0]}"


@cache
def read_page(path: Path) -> Page:
    """Read a page."""
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def is_remote(address: str) -> bool:
    """Say whether an address has a server, or is none of a file."""
    parts = urlsplit(address)
    return bool(parts.scheme or parts.netloc)


def _unreachable(site: Path, path: Path, address: str) -> str:
    """Say what is wrong with a link inside the site; nothing where it leads somewhere."""
    parts = urlsplit(address)
    place = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if place.is_dir():
        place /= "index.html"
    if not place.is_relative_to(site.resolve()) or not place.is_file():
        return f"links to {address}, which is not there"
    is_missing = parts.fragment and place.suffix == ".html" and unquote(parts.fragment) not in read_page(place).anchors
    return f"links to {address}, which has no such place" if is_missing else ""
