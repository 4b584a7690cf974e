"""What documents are made from, and the limit that one is about."""

from collections.abc import Callable, Generator, Iterator, Mapping
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar

from ratelimitd.policy import DescriptorNode, Limit, Policy, is_override, node_at, path_of, walk

from .denials import Place
from .model import Live
from .shown import Text
from .tracked import Tracked

T = TypeVar("T")

Document = dict[str, Any]
"""A document as JSON has it."""

Sliced = Generator[None, None, T]
"""Work that yields to the event loop, and returns its result."""

VERSION = 1

LOOKED = 100
"""Limits that are looked at in a slice: 1 ms interpreted, with their names and ids."""


def nowhere(_: DescriptorNode, __: int) -> Mapping[str, Any] | None:
    """Return that it is not known where a limit was written."""


class View(NamedTuple):
    """The model and the policy as of ``now`` (wall-clock µs), and how they may be shown.

    Attributes:
        plain: whether keys are shown as they are: with the token.
        text: ``descriptor_text.show``.
        where: returns where a limit of a node was written, by its index.
    """

    live: Live
    policy: Policy | None
    now: int
    plain: bool
    text: Text
    where: Callable[[DescriptorNode, int], Mapping[str, Any] | None] = nowhere


class Found(NamedTuple):
    """A limit: its place, and its node and number there in the active policy; None: gone, or carried by requests."""

    domain: bytes
    path: bytes
    item: str
    node: DescriptorNode | None
    number: int
    limit: Limit

    @property
    def place(self) -> Place:
        """Place of the limit."""
        return self.domain, self.path, self.item


def limit_id(domain: bytes, path: bytes, item: str) -> str:
    """Return the id of a limit: 16 hex digits, equal on replicas with the same policy; path as ``NodeRules.path``."""
    framed = b"%d:%b%d:%b%b" % (len(domain), domain, len(path), path, item.encode())
    return blake2b(framed, digest_size=8, person=b"ratelimitd.limit").hexdigest()


def of_tracked(view: View, tracked: Tracked) -> Found:
    """Return the limit that is tracked, as the active policy has it."""
    domain, path, item = tracked.place
    known = None if view.policy is None else view.policy.domains.get(domain)
    if known is not None and not is_override(path):
        node = node_at(known, path)
        for index, limit in enumerate(() if node is None else node.limits):
            if limit.item == item:
                return Found(domain, path, item, node, index, limit)
    return Found(domain, path, item, None, 0, tracked.limit)


def all_limits(view: View) -> Iterator[Found | None]:
    """Yield the limits of the policy, then those that are tracked besides; None between slices."""
    for looked, (domain, path) in enumerate(walk(view.policy) if view.policy is not None else (), 1):
        if looked % LOOKED == 0:
            yield None
        if path and path[-1].limits:
            node = path[-1]
            name = node.path if node.path is not None else path_of([each.final_key for each in path])
            for index, limit in enumerate(node.limits):
                yield Found(domain.name, name, limit.item, node, index, limit)
    for number, tracked in enumerate(list(view.live.limits.values()), 1):
        found = of_tracked(view, tracked)
        if found.node is None:
            yield found
        if number % LOOKED == 0:
            yield None


def found(view: View, id: str) -> Sliced[Found | None]:  # noqa: A002 -- the name of the field
    """Return the limit with an id; None if there is none. Those with traffic are found first."""
    for number, place in enumerate(list(view.live.limits), 1):
        tracked = view.live.limits.get(place)
        if tracked is not None and limit_id(*place) == id:
            return of_tracked(view, tracked)
        if number % LOOKED == 0:
            yield
    for each in all_limits(view):
        if each is None:
            yield
        elif limit_id(*each.place) == id:
            return each
    return None


def complete(work: Sliced[T]) -> T:
    """Return the result of work without a pause, where there is no event loop."""
    while True:
        try:
            next(work)
        except StopIteration as stop:
            result: T = stop.value
            return result


def head(view: View) -> Document:
    """Return what every document begins with."""
    return {"version": VERSION, "time": view.now / 1_000_000}
