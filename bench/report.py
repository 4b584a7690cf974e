"""What a part came to: a table for the terminal and for docs/performance.md, and JSON."""

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
"""Where a quick run leaves its files: its numbers are for a look, not for quoting."""

WIDEST: Final = 1_000
"""Columns a table may take; a narrower terminal wraps its lines, rather than that numbers are cut."""


class Report(NamedTuple):
    """What one part measured.

    Attributes:
        rows: the table's, as text; the first columns name what was measured.
        notes: what a reader must know to read it.
        data: the same as numbers, for JSON and the picture.
        command: that measures it again.
        page: of docs/, that has its table.
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
    """Write the JSON and, unless the run was a quick one, the table of its page; returns picture's path."""
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
    """Return the table in Markdown, with the machine, the command and the notes."""
    names = names_of(report)
    lines = [report.columns, ["---" if index < names else "---:" for index in range(len(report.columns))], *report.rows]
    table = "\n".join(f"| {' | '.join(cell.replace('|', '') for cell in line)} |" for line in lines)
    notes = "".join(f"- {note}\n" for note in report.notes)
    return f"{table}\n\n{notes}\n`{report.command}` on {time.strftime('%Y-%m-%d')}; {shape()}.\n"


def names_of(report: Report) -> int:
    """Return how many of the first columns hold words."""
    return next((n for n, cell in enumerate(report.rows[0]) if cell[:1].isdigit()), 1) if report.rows else 1
