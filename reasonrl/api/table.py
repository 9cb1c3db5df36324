"""Rows that a notebook shows, and gives to pandas and datasets where those are installed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, overload

from reasonrl.api.html import table_html
from reasonrl.errors import DataError, and_known
from reasonrl.system.extras import needs_extra
from reasonrl.system.printable import visible
from reasonrl.system.table import aligned

if TYPE_CHECKING:
    import datasets
    import pandas

Row: TypeAlias = Mapping[str, Any]
"""Values by column. Any: numbers, text, None and lists of them."""

MAX_ROWS: Final = 20
"""Rows that are shown."""
MAX_CELL: Final = 160
"""Characters of a value that are shown."""


@dataclass(frozen=True, slots=True, repr=False)
class Table(Sequence[Row]):
    """Rows with named columns; a sequence of mappings."""

    rows: Sequence[Row]
    key: str | None = None
    """Column that tells the rows apart, such as the step."""

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> "Table": ...
    def __getitem__(self, place: int | slice) -> "Row | Table":
        """Return a row, or the table of some rows."""
        return Table(self.rows[place], self.key) if isinstance(place, slice) else self.rows[place]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows."""
        return iter(self.rows)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in order of appearance; a row may lack some."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row))

    def column(self, name: str) -> list[Any]:
        """Return the values of a column; None where a row has none. Any: as in the rows.

        Raises:
            DataError: there is no such column.
        """
        if name not in self.columns:
            raise DataError(f"there is no column {name!r}.{and_known(name, self.columns)}")
        return [row.get(name) for row in self.rows]

    def to_pandas(self) -> "pandas.DataFrame":
        """Return a data frame, indexed by the column that tells rows apart.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        with needs_extra("notebook", "to_pandas"):
            import pandas
        frame = pandas.DataFrame(self._full_rows(), columns=list(self.columns))
        return frame if self.key is None else frame.set_index(self.key)

    def to_dataset(self) -> "datasets.Dataset":
        """Return a data set of the library ``datasets``.

        Raises:
            MissingExtraError: datasets is not installed.
        """
        with needs_extra("data", "to_dataset"):
            import datasets
        return datasets.Dataset.from_list(self._full_rows())

    def _full_rows(self) -> list[dict[str, Any]]:
        return [{name: row.get(name) for name in self.columns} for row in self.rows]

    def __repr__(self) -> str:
        """Return the first rows as text."""
        lines = aligned([self.columns, *self._cells(visible)]) if self.rows else ["no rows"]
        return "\n".join([*lines, *self._left_out()])

    def _repr_html_(self) -> str:
        """Return the first rows as HTML; what a model wrote is text in it."""
        return table_html(self.columns, list(self._cells(str)), notes=self._left_out())

    def _cells(self, shown: Callable[[str], str]) -> Iterator[list[str]]:
        for row in self.rows[:MAX_ROWS]:
            yield [shown(_cell(row.get(name))) for name in self.columns]

    def _left_out(self) -> list[str]:
        more = len(self.rows) - MAX_ROWS
        return [f"... and {more} more rows"] if more > 0 else []


def _cell(value: object) -> str:
    """Return a value as it is shown, cut where it is long."""
    if value is None:
        return ""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= MAX_CELL else f"{text[:MAX_CELL]}..."
