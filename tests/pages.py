"""Reads an HTML page as a browser would take it apart, without one."""

import json
from html.parser import HTMLParser
from typing import Any, Final

INLINE: Final = frozenset({"a", "bdi", "code", "data", "span", "strong"})
"""Elements that do not end a word."""
VOID: Final = frozenset({"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"})


class Page(HTMLParser):
    """Elements, text and figures of a page."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.source = source
        self.elements: list[tuple[str, dict[str, str]]] = []
        """Tag and attributes of everything in the page."""
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        """Content of elements that hold no markup."""
        self._open: list[tuple[str, str]] = []
        self._text: dict[str, list[str]] = {}
        self._data: dict[str, list[float]] = {}
        self.feed(source)
        self.close()

    def text(self, section: str = "") -> str:
        """What a person reads in a section by its id, in the whole page without one; spaces as one."""
        return " ".join("".join(self._text.get(section, ())).split())

    def figures(self, section: str) -> list[float]:
        """The exact values of the figures in a section."""
        return self._data.get(section, [])

    def tags(self, name: str) -> list[dict[str, str]]:
        """Attributes of every element of a name."""
        return [attributes for tag, attributes in self.elements if tag == name]

    @property
    def data(self) -> Any:
        """What the page's script is given. Any: JSON values."""
        return json.loads(self.raw["script"][0])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self._open.append((tag, attributes.get("id", "")))
        if tag in self.raw:
            self.raw[tag].append("")
        if tag not in INLINE:
            self._say(" ")
        if tag == "data":
            for section in self._sections():
                self._data.setdefault(section, []).append(float(attributes["value"]))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> ends nothing"
        assert self._open[-1][0] == tag, f"</{tag}> ends a <{self._open[-1][0]}>"
        self._open.pop()
        if tag not in INLINE:
            self._say(" ")

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][0] in self.raw:
            self.raw[self._open[-1][0]][-1] += data
            return
        self._say(data)

    def close(self) -> None:
        super().close()
        assert not self._open, f"not ended: {self._open}"

    def _say(self, text: str) -> None:
        for section in self._sections():
            self._text.setdefault(section, []).append(text)

    def _sections(self) -> set[str]:
        return {"", *(name for _, name in self._open if name)}
