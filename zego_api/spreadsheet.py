"""CSV that a spreadsheet opens without harm: encoding, quoting, and no formulas out of our data."""

import csv
from collections.abc import Iterable, Iterator, Sequence

# With a byte order mark: without one Excel reads names with accents wrongly, and whatever else reads
# CSV knows it.
ENCODING = "utf-8-sig"
MARK = "\ufeff"
CONTENT_TYPE = "text/csv; charset=utf-8"
# What makes a spreadsheet take a cell for a formula; the last ones are read as the first are.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001


def harmless(cell: str) -> str:
    """The cell, with an apostrophe before what a spreadsheet would take for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def lines(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Each row as a line of CSV with its line end; every cell is made harmless."""
    writer = csv.writer(_Echo())
    for row in rows:
        yield writer.writerow([harmless(cell) for cell in row])


class _Echo:
    """A file for csv.writer that hands each line back."""

    def write(self, line: str) -> str:
        return line
