"""The topics of /live/events: each an event with a document of the live view."""

import time
from collections.abc import Awaitable, Callable
from typing import Final

from .events import Rendered, Topic, frame
from .live import Document, LiveView

DENIALS: Final = 100
"""Denials that a page shows."""


class Topics:
    """Renders the topics for a hub. Of denials, readers that have seen some get the others."""

    def __init__(self, view: LiveView) -> None:
        self._view = view
        self._seen: dict[bool, dict[int, int]] = {False: {}, True: {}}

    async def render(self, topic: Topic) -> Rendered:
        """Be a ``Render``."""
        if topic.name == "denials":
            return await self._denials(topic)
        made = frame(topic.name, await DOCUMENTS[topic.name](self._view, topic))
        return Rendered(made, made)

    async def _denials(self, topic: Topic) -> Rendered:
        """Return the denials that are new, or counted more, since the last time; and all."""
        whole = await self._view.denials("", DENIALS, plain=topic.plain)
        before = self._seen[topic.plain]
        self._seen[topic.plain] = {each["serial"]: each["count"] for each in whole["denials"]}
        news = [each for each in whole["denials"] if before.get(each["serial"]) != each["count"]]
        told = frame("denials", {**whole, "denials": news}) if news else b""
        return Rendered(told, frame("denials", whole))


async def _overview(view: LiveView, topic: Topic) -> Document:
    return await view.overview(plain=topic.plain)


async def _limits(view: LiveView, topic: Topic) -> Document:
    return await view.busiest(plain=topic.plain)


async def _limit(view: LiveView, topic: Topic) -> Document:
    found = await view.limit(topic.id, plain=topic.plain)
    return {"version": 1, "time": round(time.time(), 3), "limit": None} if found is None else found


DOCUMENTS: Final[dict[str, Callable[[LiveView, Topic], Awaitable[Document]]]] = {
    "overview": _overview,
    "limits": _limits,
    "limit": _limit,
}
"""Topics whose event is a whole document."""
