"""The tables: limits, keys and denials, in as many columns as the terminal has room for."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from rich.table import Table
from rich.text import Text

from .amounts import NONE, bar, clock, count, span, sparkline
from .documents import Document, number, numbers, part, text


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        title: the word at its head.
        sort: the order by it, "" if there is none.
        width: columns of the terminal; 0: the rest, of which the columns without a width have equal parts.
        least: the table's width from which it is shown.
        cell: the text in a row; gets the row and the width.
        right: aligned to the right.
    """

    title: str
    sort: str
    width: int
    least: int
    cell: Callable[[Document, int], Text]
    right: bool = False


def _number(*path: str, style: str = "", title: str, sort: str = "", least: int = 0) -> Column:
    """Return a column of a number, in a colour unless it is 0."""

    def cell(row: Document, width: int) -> Text:  # noqa: ARG001 -- a cell
        value = number(row, *path)
        return Text(count(value), style=style if value else "dim")

    return Column(title, sort, max(len(title) + 1, 6), least, cell, right=True)


def _mode(row: Document, width: int) -> Text:  # noqa: ARG001 -- a cell
    flags = [name for name in ("gone", "unlimited") if row.get(name) is True]
    mode = flags[0] if flags else text(row, "mode")
    return Text(mode, style="dim" if mode in ("enforced", "unlimited") else "yellow")


def _left(row: Document, width: int) -> Text:  # noqa: ARG001 -- a cell
    remaining = number(row, "remaining")
    if remaining is None:
        return Text(NONE, style="dim")
    return Text(count(remaining) if remaining > 0 else "0", style="" if remaining > 0 else "red")


def _reset(row: Document, width: int) -> Text:  # noqa: ARG001 -- a cell
    return Text(span(number(row, "reset_after")))


def _passes(row: Document, width: int) -> Text:  # noqa: ARG001 -- a cell
    seconds = number(row, "reset_after")
    return Text("never", style="red") if seconds is None else Text(span(seconds))


def _name(name: str) -> Callable[[Document, int], Text]:
    return lambda row, width: Text(text(row, name))  # noqa: ARG005 -- a cell


LIMITS: Final = (
    Column("limit", "name", 0, 0, _name("name")),
    Column("configured", "", 16, 0, _name("summary")),
    Column("mode", "", 9, 110, _mode),
    _number("rates", "allowed", title="allow/s", sort="allowed", style="green"),
    _number("rates", "denied", title="deny/s", sort="denied", style="red"),
    _number("rates", "shadowed", title="shadow/s", style="yellow", least=120),
    _number("rates", "failed", title="fail/s", style="magenta", least=120),
    _number("active_keys", title="keys", sort="keys", least=90),
    Column("use", "use", 12, 0, lambda row, width: bar(number(row, "use"), width)),
    Column(
        "last hour", "", 0, 70,
        lambda row, width: sparkline(numbers(row, "spark", "allowed"), numbers(row, "spark", "denied"), min(width, 60)),
    ),
)  # fmt: skip

KEYS: Final = (
    Column("key", "name", 0, 0, _name("key")),
    _number("minute", "hits", title="1 min", sort="rate"),
    _number("minute", "denied", title="denied", sort="denied", style="red"),
    _number("ten_minutes", "hits", title="10 min", least=90),
    _number("ten_minutes", "denied", title="denied", style="red", least=100),
    _number("hour", "hits", title="1 h"),
    _number("hour", "denied", title="denied", style="red"),
    Column("left", "use", 6, 0, _left, right=True),
    Column("reset", "", 10, 0, _reset, right=True),
)

KEYS_OF_ALL: Final = (KEYS[0], Column("limit", "", 0, 0, _name("limit")), *KEYS[1:])
"""Each row has the name of its limit in addition."""

DENIALS: Final = (
    Column("last denials", "", 12, 0, lambda row, _: Text(clock(number(row, "time")))),
    Column("key", "", 0, 0, _name("key")),
    _number("count", title="times", style="red"),
    _number("cost", title="cost"),
    _number("used", title="used", least=90),
    Column("reason", "", 11, 0, _name("reason")),
    Column("passes in", "", 11, 0, _passes, right=True),
)

_SHARES: Final = {"last hour": 2}
"""Parts that the columns without a width have of the rest; 3 otherwise."""


def table(
    columns: Sequence[Column],
    rows: Sequence[Document],
    width: int,
    *,
    sort: str = "",
    ascending: bool = False,
    marked: int | None = None,
) -> Table:
    """Return a table of this width, one line a row and one of titles; ``marked`` is the selected row."""
    shown = [column for column in columns if width >= column.least]
    widths = _widths(shown, width)
    made = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), width=width, show_edge=False)
    for column, columns_wide in zip(shown, widths, strict=True):
        arrow = ("↑" if ascending else "↓") if column.sort and column.sort == sort else ""
        made.add_column(
            Text(column.title + arrow, style="bold" if arrow else "dim bold"),
            justify="right" if column.right else "left",
            width=columns_wide,
            no_wrap=True,
            overflow="ellipsis",
        )
    for at, row in enumerate(rows):
        cells = [column.cell(row, columns_wide) for column, columns_wide in zip(shown, widths, strict=True)]
        made.add_row(*cells, style="reverse" if at == marked else "")
    return made


def _widths(columns: Sequence[Column], width: int) -> list[int]:
    """Return the width of each column, with one column between two."""
    rest = max(0, width - sum(column.width for column in columns) - len(columns))
    shares = [0 if column.width else _SHARES.get(column.title, 3) for column in columns]
    total = sum(shares) or 1
    return [column.width or max(1, rest * share // total) for column, share in zip(columns, shares, strict=True)]


def key_rows(details: Sequence[Document], sort: str, *, ascending: bool, search: str = "") -> list[Document]:
    """Return the keys of limits, in order, each with the name of its limit."""
    rows: list[Document] = []
    for detail in details:
        name = part(detail, "limit").get("name")
        keys = detail.get("keys")
        rows += [{**key, "limit": name} for key in keys if isinstance(key, dict)] if isinstance(keys, list) else []
    found = [row for row in rows if search in text(row, "key") or search in text(row, "limit")]
    names = sort == "name"
    return sorted(found, key=_ORDERS.get(sort, _hits), reverse=ascending if names else not ascending)


def _hits(row: Document) -> tuple[float, ...]:
    return (number(row, "minute", "hits") or 0, number(row, "hour", "hits") or 0)


def _denied(row: Document) -> tuple[float, ...]:
    return (number(row, "minute", "denied") or 0, number(row, "hour", "denied") or 0, *_hits(row))


def _allowed(row: Document) -> tuple[float, ...]:
    return tuple(hits - denied for hits, denied in zip(_hits(row), _denied(row), strict=False))


def _used(row: Document) -> tuple[float, ...]:
    used, remaining = number(row, "used"), number(row, "remaining")
    return (-1.0,) if used is None or remaining is None else (used / ((used + remaining) or 1),)


_ORDERS: Final[dict[str, Callable[[Document], tuple[float, ...] | str]]] = {
    "denied": _denied,
    "allowed": _allowed,
    "rate": _hits,
    "use": _used,
    "name": lambda row: text(row, "key"),
}
