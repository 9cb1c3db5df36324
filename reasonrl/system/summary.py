"""What a command found, for people and for programs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Summary:
    """The same figures as text and as JSON values."""

    text: str
    values: Mapping[str, Any]
    """Any: JSON values."""

    def __str__(self) -> str:
        """Return the text."""
        return self.text

    def printed(self, as_json: bool) -> str:
        """Return what a command prints, with ``--json`` or without."""
        return json.dumps(self.values, indent=2, ensure_ascii=False, allow_nan=False) if as_json else self.text
