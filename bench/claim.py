"""README's claim: its numbers are those of the table of ``bench rls`` with both peers."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Final

from bench.builds import OURS
from testkit.page import replaced

README: Final = Path("README.md")

GO, LIMITADOR = "go", "limitador"
"""Names of the peers that the claim needs: envoyproxy/ratelimit and Limitador."""

BESIDE: Final = (
    "- **Throughput, in Python**: on one core with 100,000 keys in use, {memory} calls per second from memory, {rust} "
    "times Limitador (Rust), and {redis} with Redis, {go} times envoyproxy/ratelimit (Go); with three descriptors and "
    "Redis {three}, {three_go} times (`python -m bench rls` with both as `--peer`; "
    "[the table](docs/performance.md#the-service-alone))."
)

ALONE: Final = (
    "- **Throughput, in Python**: on one core with 100,000 keys in use, {memory} calls per second from memory and "
    "{redis} with Redis (`python -m bench rls`; [the table](docs/performance.md#the-service-alone))."
)
"""Of a table without peers."""

Table = Sequence[Mapping[str, str]]
"""Rows of a table, by column."""


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return the rows of a report by column."""
    return [dict(zip(columns, row, strict=True)) for row in rows]


def read(page: str, part: str) -> Table:
    """Return the rows of a part's table in a page."""
    found = re.search(rf"<!-- {part} -->\n(.*?)\n\n", page, re.DOTALL)
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in found[1].splitlines()] if found else []
    return table(lines[0], lines[2:]) if lines else []


def claim(rows: Table, text: str = BESIDE) -> str | None:
    """Return the claim as a list item of README; None unless each of its numbers was measured."""
    memory = _ours(rows, "memory, 100,000 keys")
    redis, three = (_ours(rows, f"Redis, {keys}") for keys in ("100,000 keys", "3 descriptors, 100,000 keys"))
    numbers = {
        "memory": _median(memory, "calls/s"),
        "rust": _median(memory, f"calls/s ÷ {LIMITADOR}"),
        "redis": _median(redis, "calls/s"),
        "go": _median(redis, f"calls/s ÷ {GO}"),
        "three": _median(three, "calls/s"),
        "three_go": _median(three, f"calls/s ÷ {GO}"),
    }
    if not all(numbers[name] for name in re.findall(r"{(\w+)}", text)):
        return None
    return fill(text.format(**numbers), 120, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _ours(rows: Table, case: str) -> Mapping[str, str]:
    """Return the row of the build that users have, or of the sources where nothing is compiled."""
    found = {row["served by"]: row for row in rows if row.get("case") == case}
    return next((found[name] for name in OURS if name in found), {})


def _median(row: Mapping[str, str], column: str) -> str:
    return row.get(column, "").partition(" ")[0]


def write(rows: Table) -> bool:
    """Put the claim beside peers into README, and return whether there is one."""
    text = claim(rows)
    if text is not None:
        README.write_text(replaced(README.read_text(), "claim", f"{text}\n"))
    return text is not None
