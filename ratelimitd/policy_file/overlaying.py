"""An overlay, applied to the limits of a policy while they are made.

A limit is made as it was sent first, so an overlay changes nothing about which policies are valid. What an overlay says
are defaults: a key that the policy writes for a limit applies. Of two entries that say the same, the later one applies.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ratelimitd.policy import Limit

from .overlay import OF_DOMAIN, Overlay, OverlayEntry
from .path_patterns import Position

ORDER: Final = (
    "default_algorithm",
    "algorithm",
    "burst",
    "default_charge",
    "charge",
    "reserve",
    "queue",
    "on_store_failure",
)
"""Keys in the order in which they are tried: what others depend on comes first."""

NAMED_MAX: Final = 3
"""Limits named of those that an entry cannot apply to for one reason: enough to find them by."""

REASONS_MAX: Final = 20
"""Reasons kept of an entry: a screenful; the last one then stands for those that follow."""

LEFT_MAX: Final = 8
"""Entries that are left one by one for a limit; if what others say does not fit either, they are left together. So an
overlay of which nothing fits costs a limit some tens of trials, of 10 µs each."""

Make = Callable[[Mapping[str, Any]], "Limit | str"]
"""Makes a limit with these defaults, or returns why there can be none."""


class Left:
    """The limits that an entry cannot apply to for one reason: how many, and the first of them."""

    __slots__ = ("count", "first", "why")

    def __init__(self, why: str) -> None:
        self.why = why
        self.count = 0
        self.first: list[str] = []


class Effect:
    """What an entry does to one policy.

    Attributes:
        domains: how many it is for.
        limits: how many it is for.
        left: those of them that it cannot apply to, by reason.
    """

    __slots__ = ("domains", "entry", "left", "limits")

    def __init__(self, entry: OverlayEntry) -> None:
        self.entry = entry
        self.domains = 0
        self.limits = 0
        self.left: dict[str, Left] = {}

    @property
    def unused(self) -> bool:
        """Whether it is for nothing in the policy."""
        of_limits = any(key not in OF_DOMAIN for key in self.entry.said)
        return not (self.limits if of_limits else self.domains)

    def leave(self, place: str, why: str) -> None:
        """Note a limit that the entry cannot apply to."""
        full = len(self.left) >= REASONS_MAX and why not in self.left
        found = next(reversed(self.left.values())) if full else self.left.setdefault(why, Left(why))
        found.count += 1
        if len(found.first) < NAMED_MAX:
            found.first.append(place)


class Level(NamedTuple):
    """The entries that may be for descriptors here or further down, each with its position; 0 for one without path."""

    entries: tuple[tuple[Effect, Position], ...]

    def below(self, key: bytes, value: bytes) -> "Level":
        """Return the level of a descriptor."""
        found = []
        for effect, position in self.entries:
            path = effect.entry.path
            further = 0 if path is None else path.below(position, key, value)
            if path is None or further:
                found.append((effect, further))
        return Level(tuple(found))

    def here(self) -> tuple[Effect, ...]:
        """Return the entries for the limits of this descriptor, in the order of the file."""
        return tuple(
            effect for effect, position in self.entries if effect.entry.path is None or effect.entry.path.ends(position)
        )

    def defaults(self, written: Collection[str]) -> dict[str, Any]:
        """Return the defaults of this domain, except those that its policy writes."""
        said = [effect.entry.said for effect, _ in self.entries]
        return {key: value for each in said for key, value in each.items() if key in OF_DOMAIN and key not in written}


class Overlaying:
    """An overlay on its way through a policy. ``effects``: one for each of its entries."""

    def __init__(self, overlay: Overlay) -> None:
        self.effects = tuple(map(Effect, overlay.entries))

    def domain(self, name: bytes) -> Level:
        """Return the level at the root of a domain."""
        found = [effect for effect in self.effects if effect.entry.domain.matches(name)]
        for effect in found:
            effect.domains += 1
        return Level(tuple((effect, 0 if (path := effect.entry.path) is None else path.start) for effect in found))


class Given(NamedTuple):
    """What an overlay may say of the limits of a descriptor.

    Attributes:
        place: name of the descriptor.
        effects: the entries for it.
        written: keys that the descriptor or its domain writes.
    """

    place: str
    effects: Sequence[Effect]
    written: Collection[str]


def overlaid(given: Given, fields: Mapping[str, Any], sent: Limit, item: str, make: Make) -> Limit:
    """Return a limit with what the entries say of it; an entry that cannot apply is noted, and says nothing of it.

    ``sent`` is the limit without an overlay, of these fields; ``item`` its name among several.
    """
    for effect in given.effects:
        effect.limits += 1
    keys = {key for key, value in fields.items() if key != "unlimited" or value}
    written = {*given.written, *keys, *_superseded(keys)}
    place = f"{given.place} [{item}]" if item else given.place
    left: list[Effect] = []
    while said := _said([effect for effect in given.effects if effect not in left], written):
        made = _made(said, make)
        if isinstance(made, Limit):
            return made._replace(overlaid=tuple((key, effect.entry.line) for key, effect in said.items()))
        effect, why = _at_fault(said, make, made)
        at_fault = [effect] if len(left) < LEFT_MAX else [each for each in given.effects if each not in left]
        for each in at_fault:
            each.leave(place, why)
        left += at_fault
    return sent


def _superseded(keys: Collection[str]) -> set[str]:
    """Return the defaults of a domain that mean nothing to a limit with these keys."""
    if "unlimited" in keys or "concurrent" in keys:
        return set(OF_DOMAIN)
    found = {key for key in OF_DOMAIN if key.removeprefix("default_") in keys}
    return found | {"default_charge"} if "reserve" in keys else found


def _said(effects: Iterable[Effect], written: Collection[str]) -> dict[str, Effect]:
    """Return which entry says what, in the order of ``ORDER``."""
    found = {key: effect for effect in effects for key in effect.entry.said if key not in written}
    superseded = _superseded(found)
    return {key: found[key] for key in ORDER if key in found and key not in superseded}


def _made(said: Mapping[str, Effect], make: Make) -> Limit | str:
    return make({key: effect.entry.said[key] for key, effect in said.items()})


def _at_fault(said: Mapping[str, Effect], make: Make, why: str) -> tuple[Effect, str]:
    """Return the entry with the first key that does not fit, and why; ``why`` is that of all of them."""
    keys = list(said)
    for end in range(1, len(keys)):
        made = _made({key: said[key] for key in keys[:end]}, make)
        if isinstance(made, str):
            return said[keys[end - 1]], made
    return said[keys[-1]], why
