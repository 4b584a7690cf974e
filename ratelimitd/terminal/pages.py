"""The pages of the view, below the overview: limits, keys of all limits, one limit."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from .amounts import count, sparkline
from .documents import Document, number, numbers, part, parts, text, texts
from .overview import rates_of
from .tables import DENIALS, KEYS, KEYS_OF_ALL, LIMITS, Column, key_rows, table
from .view import Page, Shown, View, selected

NOTHING: Final[Document] = {}

HASHED: Final = "Keys are hashed: set ADMIN_TOKEN or ADMIN_TOKEN_FILE to that of the service to see them."

_DENIALS_SHARE: Final = 3
"""The denials of a limit have at most a third of the lines below its head."""


class Data(NamedTuple):
    """What a service has answered.

    Attributes:
        address: host and port of it.
        overview, limits: the documents of that name.
        details: documents of ``/live/limit``, one for each limit whose keys are shown.
        fault: why there is nothing newer; "" if there is.
    """

    address: str
    overview: Document = NOTHING
    limits: Document = NOTHING
    details: Sequence[Document] = ()
    fault: str = ""


class Body(NamedTuple):
    """A page: what rich prints, its number of lines, and what a key is about."""

    parts: list[RenderableType]
    lines: int
    shown: Shown


def body(data: Data, view: View, width: int, room: int) -> Body:
    """Return the view's page, in at most ``room`` lines."""
    return _PAGES[view.page](data, view, width, room)


def _limits(data: Data, view: View, width: int, room: int) -> Body:
    rows = parts(data.limits, "limits")
    ids = [text(row, "id") for row in rows]
    total = number(data.limits, "total") or len(rows)
    hidden = total > len(rows)
    lines = max(1, room - 1 - hidden)
    at = selected(view, ids)
    first = max(0, min(at - lines // 2, len(rows) - lines))
    shown = Shown(ids, len(rows), lines)
    if not rows:
        return Body([_none(view, "The policy has no limits.")], 1, shown)
    marked = at - first if view.marks else None
    made = table(LIMITS, rows[first : first + lines], width, sort=view.sort, ascending=view.ascending, marked=marked)
    more: list[RenderableType] = [Text(f"the first {len(rows)} of {total:.0f} limits", style="dim")] if hidden else []
    return Body([made, *more], 1 + made.row_count + hidden, shown)


def _keys(data: Data, view: View, width: int, room: int) -> Body:
    rows = key_rows(data.details, view.sort, ascending=view.ascending, search=view.search)
    note = _note(data)
    lines = max(1, room - 1 - len(note))
    made = _rows(KEYS_OF_ALL, rows, view, width, lines)
    nothing = [] if rows else [_none(view, "No key was seen within the last hour.")]
    return Body([*note, made, *nothing], len(note) + 1 + made.row_count + len(nothing), Shown((), len(rows), lines))


def _limit(data: Data, view: View, width: int, room: int) -> Body:
    document = data.details[0] if data.details else NOTHING
    head = [*limit_lines(document, width), *_note(data), Text()]
    left = max(4, room - len(head))
    denials = parts(document, "denials")
    denied = min(len(denials), max(1, left // _DENIALS_SHARE - 1)) if denials else 0
    lines = max(1, left - 1 - (denied + 2 if denied else 0))
    rows = key_rows([document], view.sort, ascending=view.ascending)
    made = _rows(KEYS, rows, view, width, lines)
    shown: list[RenderableType] = [*head, made]
    used = len(head) + 1 + made.row_count
    if denied:
        shown += [Text(), table(DENIALS, denials[:denied], width)]
        used += denied + 2
    return Body(shown, used, Shown((), len(rows), lines))


def _rows(columns: Sequence[Column], rows: Sequence[Document], view: View, width: int, lines: int) -> Table:
    first = max(0, min(view.offset, len(rows) - lines))
    return table(columns, rows[first : first + lines], width, sort=view.sort, ascending=view.ascending)


def limit_lines(document: Document, width: int) -> list[Text]:
    """Return the lines about a limit: what is configured, where, its traffic and its hour."""
    row = part(document, "limit")
    says = [text(row, "summary"), text(row, "algorithm"), text(row, "mode"), _burst(row)]
    failure = text(row, "on_store_failure")
    says.append(f"without its store: {failure}" if failure else "")
    lines = [
        Text.assemble((text(row, "name") or "…", "bold"), "  ", ", ".join(each for each in says if each)),
        Text(_written(row), style="dim"),
        _traffic(row),
    ]
    if row.get("gone") is True:
        lines.append(Text("The active policy has this limit no longer.", style="yellow"))
    if differing := texts(row, "differs"):
        lines.append(Text(f"The replicas' policies differ: {'; '.join(differing)}", style="yellow"))
    allowed, denied = numbers(document, "history", "allowed"), numbers(document, "history", "denied")
    if allowed:
        lines.append(Text.assemble(("last hour  ", "dim"), sparkline(allowed, denied, min(width - 11, 120))))
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return lines


def _burst(row: Document) -> str:
    burst = number(row, "burst")
    return f"burst {burst:.0f}" if burst is not None and burst != number(row, "requests_per_unit") else ""


def _written(row: Document) -> str:
    """Return the place of a limit in the policy."""
    where = part(row, "where")
    line = number(where, "line")
    place = text(where, "file") or text(where, "resource")
    domain = text(row, "domain")
    return f"written in {place}{f':{line:.0f}' if line else ''}, domain {domain}" if place else f"domain {domain}"


def _traffic(row: Document) -> Text:
    line = rates_of(row).append(f"   active keys {count(number(row, 'active_keys'))}")
    if (use := number(row, "use")) is not None:
        line.append(f"   fullest key {use:.0%}")
    return line


def _note(data: Data) -> list[Text]:
    return [Text(HASHED, style="dim", no_wrap=True, overflow="ellipsis")] if _hashed(data) else []


def _hashed(data: Data) -> bool:
    return text(data.overview, "keys") == "hashed"


def _none(view: View, otherwise: str) -> Text:
    return Text(f"Nothing matches '{view.search}'." if view.search else otherwise, style="dim")


_PAGES: Final[dict[Page, Callable[[Data, View, int, int], Body]]] = {"limits": _limits, "keys": _keys, "limit": _limit}
