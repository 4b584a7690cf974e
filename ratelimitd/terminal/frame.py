"""The full screen, and the table of ``--once``: from documents to what rich prints."""

from typing import Final

from rich.console import Group, RenderableType
from rich.text import Text

from .overview import overview_lines
from .pages import Data, body
from .view import Page, Shown, View

HELP: Final[dict[Page, str]] = {
    "limits": "q quit  ↑↓ select  ⏎ its keys  tab keys  / search  s sort (darucn)  o reverse",
    "keys": "q quit  ↑↓ scroll  tab limits  / search  s sort (darun)  o reverse",
    "limit": "q quit  ↑↓ scroll  esc back  s sort (darun)  o reverse",
}
"""The last line: what the keys do."""

_EVERY_LINE: Final = 1 << 30


def frame(data: Data, view: View, width: int, height: int) -> tuple[RenderableType, Shown]:
    """Return the whole screen, and what of it the keys are about."""
    head = _cut(overview_lines(data.overview, data.address))
    room = height - len(head) - 2
    made = body(data, view, width, max(3, room))
    filling = [Text()] * (room - made.lines)
    return Group(*head, Text(), *made.parts, *filling, *_cut([_foot(data, view)])), made.shown


def once(data: Data, view: View, width: int) -> RenderableType:
    """Return the overview and the page with all its rows."""
    head = _cut(overview_lines(data.overview, data.address))
    return Group(*head, Text(), *body(data, view._replace(marks=False), width, _EVERY_LINE).parts)


def _cut(lines: list[Text]) -> list[Text]:
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return lines


def _foot(data: Data, view: View) -> Text:
    if view.typed is not None:
        return Text.assemble(("search: ", "bold"), view.typed, ("█", "blink"))
    if data.fault:
        return Text(data.fault, style="bold red")
    found = f"'{view.search}' (esc: all)  " if view.search else ""
    return Text.assemble((found, "bold"), (HELP[view.page], "dim"))
