"""What the full-screen view shows, and how a key changes it."""

from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple

SORTS: Final = ("denied", "allowed", "rate", "use", "keys", "name")
"""Orders of the limits, as /live/limits takes them."""

KEY_SORTS: Final = ("denied", "allowed", "rate", "use", "name")
"""Orders of keys."""

SEARCH_MOST: Final = 100
"""Characters of a search: more than a line of 80 columns shows."""

Page = Literal["limits", "keys", "limit"]


class View(NamedTuple):
    """The state of the view.

    Attributes:
        page: the table of limits, that of the keys of all limits, or one limit.
        before: the page that Esc returns to from one limit.
        sort, ascending: the order of the rows.
        search: limits whose name contains it are shown.
        typed: the search that is being typed; None: none is.
        selected: the id of the selected limit; "": the first.
        opened: the id of the limit of the page ``limit``.
        offset: first row of the page ``keys`` or ``limit``.
        marks: the selected limit is marked.
        quit: the view was left.
    """

    page: Page = "limits"
    before: Page = "limits"
    sort: str = SORTS[0]
    ascending: bool = False
    search: str = ""
    typed: str | None = None
    selected: str = ""
    opened: str = ""
    offset: int = 0
    marks: bool = True
    quit: bool = False

    @property
    def order(self) -> str:
        """The order as /live/limits takes it: names from A on, numbers from the largest on, or the reverse."""
        return "asc" if self.ascending is not (self.sort == "name") else "desc"


class Shown(NamedTuple):
    """What is on the screen: the limits' ids in order, the rows of the page, and how many of them it has room for."""

    ids: Sequence[str] = ()
    rows: int = 0
    room: int = 1


def pressed(view: View, key: str, shown: Shown) -> View:
    """Return the view after a key."""
    if view.typed is not None:
        return _typed(view, key)
    action = _KEYS.get(key)
    return action(view, shown) if action is not None else view


def _typed(view: View, key: str) -> View:
    typed = view.typed or ""
    if key == "enter":
        return view._replace(typed=None, search=typed, selected="", offset=0)
    if key in ("escape", "quit"):
        return view._replace(typed=None)
    if key == "backspace":
        return view._replace(typed=typed[:-1])
    if key == "clear":
        return view._replace(typed="")
    return view._replace(typed=(typed + key)[:SEARCH_MOST]) if len(key) == 1 else view


def _moved(by: Callable[[int], int]) -> Callable[[View, Shown], View]:
    """Return an action that moves the selection, or scrolls, by a number of rows that depends on the room."""

    def move(view: View, shown: Shown) -> View:
        step = by(shown.room)
        if view.page != "limits":
            return view._replace(offset=max(0, min(view.offset + step, shown.rows - shown.room)))
        if not shown.ids:
            return view
        at = max(0, min(selected(view, shown.ids) + step, len(shown.ids) - 1))
        return view._replace(selected=shown.ids[at])

    return move


def selected(view: View, ids: Sequence[str]) -> int:
    """Return the row of the selected limit; the first if it is not among them."""
    return ids.index(view.selected) if view.selected in ids else 0


def _open(view: View, shown: Shown) -> View:
    if view.page != "limits" or not shown.ids:
        return view
    chosen = shown.ids[selected(view, shown.ids)]
    return view._replace(page="limit", before="limits", opened=chosen, selected=chosen, offset=0)


def _back(view: View, shown: Shown) -> View:  # noqa: ARG001 -- an action
    if view.page == "limit":
        return view._replace(page=view.before, offset=0)
    return view._replace(search="", selected="") if view.search else view._replace(page="limits", offset=0)


def _by_key(view: View, shown: Shown) -> View:  # noqa: ARG001 -- an action
    page: Page = "limits" if view.page == "keys" else "keys"
    return view._replace(page=page, offset=0, sort=_sort_of(page, view.sort))


def _sort_of(page: Page, sort: str) -> str:
    return sort if page == "limits" or sort in KEY_SORTS else SORTS[0]


def _sorted_by(sort: str) -> Callable[[View, Shown], View]:
    """Return an action that sorts by a column; a second time it reverses the order."""

    def sorted_by(view: View, shown: Shown) -> View:  # noqa: ARG001 -- an action
        if view.page != "limits" and sort not in KEY_SORTS:
            return view
        return view._replace(sort=sort, ascending=not view.ascending if view.sort == sort else False, offset=0)

    return sorted_by


def _next_sort(view: View, shown: Shown) -> View:  # noqa: ARG001 -- an action
    sorts = SORTS if view.page == "limits" else KEY_SORTS
    at = sorts.index(view.sort) + 1 if view.sort in sorts else 0
    return view._replace(sort=sorts[at % len(sorts)], ascending=False, offset=0)


_KEYS: Final[dict[str, Callable[[View, Shown], View]]] = {
    "q": lambda view, _: view._replace(quit=True),
    "quit": lambda view, _: view._replace(quit=True),
    "up": _moved(lambda _: -1),
    "k": _moved(lambda _: -1),
    "down": _moved(lambda _: 1),
    "j": _moved(lambda _: 1),
    "page_up": _moved(lambda room: -room),
    "page_down": _moved(lambda room: room),
    "home": _moved(lambda _: -(1 << 30)),
    "end": _moved(lambda _: 1 << 30),
    "enter": _open,
    "escape": _back,
    "tab": _by_key,
    "s": _next_sort,
    "o": lambda view, _: view._replace(ascending=not view.ascending, offset=0),
    "d": _sorted_by("denied"),
    "a": _sorted_by("allowed"),
    "r": _sorted_by("rate"),
    "u": _sorted_by("use"),
    "c": _sorted_by("keys"),
    "n": _sorted_by("name"),
    "/": lambda view, _: view._replace(typed=view.search),
}
