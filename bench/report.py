"""The result of a part: a table for the terminal and for its page of docs/, and JSON."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from bench.load import BUILD
from testkit.machine import shape
from testkit.page import replaced

RESULTS: Final = Path("bench/results")
DOCS: Final = Path("docs")
QUICK: Final = BUILD / "bench"
"""The folder for the files of a quick run, whose numbers must not be quoted."""

WIDEST: Final = 1_000
"""Maximum table width in characters; a narrower terminal wraps lines instead of truncating numbers."""


class Report(NamedTuple):
    """The result of one part.

    Attributes:
        rows: cells of the table as text; the first columns name the case.
        notes: conditions of the measurement, and explanations of the columns.
        data: the same results as numbers, for JSON and the chart.
        command: the command that repeats the measurement.
        page: the page of docs/ with the table.
    """

    part: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]
    data: Sequence[dict[str, Any]]
    command: str
    page: str = "performance.md"


def show(report: Report) -> None:
    """Print the table, the machine and the command."""
    table = Table(box=box.SIMPLE_HEAD)
    names = names_of(report)
    for index, column in enumerate(report.columns):
        table.add_column(column, justify="left" if index < names else "right", no_wrap=True)
    for row in report.rows:
        table.add_row(*row)
    console = Console()
    wide = console.options.update(max_width=WIDEST)
    console.width = max(console.width, console.measure(table, options=wide).maximum)
    console.print(f"\n{report.title}", style="bold", highlight=False)
    console.print(table)
    for note in (*report.notes, shape(), f"$ {report.command}"):
        console.print(note, style="dim", highlight=False, markup=False)


def save(report: Report, *, quick: bool) -> Path:
    """Write the JSON and, unless the run was quick, the table of the page; return the path of the chart."""
    folder = QUICK if quick else RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    about = {"part": report.part, "command": report.command, "machine": shape(), "day": time.strftime("%Y-%m-%d")}
    whole = {**about, "notes": [*report.notes], "rows": [*report.data]}
    (folder / f"{report.part}.json").write_text(json.dumps(whole, indent=1) + "\n")
    if quick:
        return QUICK / f"bench-{report.part}.svg"
    page = DOCS / report.page
    page.write_text(replaced(page.read_text(), report.part, markdown(report)))
    return DOCS / f"bench-{report.part}.svg"


def markdown(report: Report) -> str:
    """Return the table in Markdown, followed by the notes, the command and the machine."""
    names = names_of(report)
    lines = [report.columns, ["---" if index < names else "---:" for index in range(len(report.columns))], *report.rows]
    table = "\n".join(f"| {' | '.join(cell.replace('|', '') for cell in line)} |" for line in lines)
    notes = "".join(f"- {note}\n" for note in report.notes)
    return f"{table}\n\n{notes}\n`{report.command}` on {time.strftime('%Y-%m-%d')}; {shape()}.\n"


def names_of(report: Report) -> int:
    """Return the number of leading columns that contain words."""
    return next((n for n, cell in enumerate(report.rows[0]) if cell[:1].isdigit()), 1) if report.rows else 1
