"""The places of a listener: which connection gets one, and which makes room. Pure: times are arguments."""

from collections import Counter, OrderedDict
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Final, Generic, NamedTuple

from .idlest import Idlest, M
from .peers import Peer

SHARE: Final = 4
"""One address has more than this part of the places only while others are free: four attackers are needed to take
all, and one Envoy, or a node that many share, is far from it."""


class Full(StrEnum):
    """Why a connection gets no place."""

    CONNECTIONS = "connections"
    ADDRESS = "address"
    HANDSHAKES = "handshakes"


class Bounds(NamedTuple):
    """Bounds of a listener.

    Attributes:
        total: places.
        spare: places that are kept free: as soon as they are needed, the idlest connection is asked to leave.
        per_address: places of one address that is not exempt, whether others are free or not; 0: no such bound.
        patience: seconds for which a connection must be idle before it makes room.
    """

    total: int
    spare: int = 0
    per_address: int = 0
    patience: float = 0.0


class Room(NamedTuple, Generic[M]):
    """Whether a new connection gets a place, and what makes room for it.

    Attributes:
        refused: why it gets none.
        leaves: a connection to be asked to leave; it keeps its place until then.
        closes: a connection to be closed at once; it has no place any more.
    """

    refused: Full | None = None
    leaves: M | None = None
    closes: M | None = None


FREE: Final[Room[Any]] = Room()


class Places(Generic[M]):
    """The places of a listener and the connections in them.

    When places are short, the connection that is idle longest makes room: first one of an address that has more than
    its share, of the newcomer's own if that is one.

    Attributes:
        made_room: connections that were asked to leave, or closed, for others.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._share = _share(bounds)
        self._members: dict[M, Peer] = {}
        self._held: Counter[str] = Counter()
        self._all: Idlest[M] = Idlest()
        self._of: dict[str, Idlest[M]] = {}
        self._crowds: set[str] = set()
        self._leaving: OrderedDict[M, None] = OrderedDict()
        self._closing: set[M] = set()
        self.made_room = 0

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, member: object) -> bool:
        return member in self._members

    def __iter__(self) -> Iterator[M]:
        return iter(self._members)

    @property
    def bounds(self) -> Bounds:
        """The bounds; new ones apply to connections from now on."""
        return self._bounds

    @bounds.setter
    def bounds(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._share = _share(bounds)
        self._crowds = {name for name, held in self._held.items() if name in self._of and held > self._share}

    def make_room(self, peer: Peer, now: float) -> Room[M]:
        """Decide on a new connection of a peer; if it is not refused, ``enter`` follows."""
        room = self._room(peer, now)
        if room.closes is not None:
            self.made_room += room.closes not in self._leaving
            self._free(room.closes)
            self._closing.add(room.closes)
        if room.leaves is not None:
            self.made_room += 1
            self._settle(room.leaves)
            self._leaving[room.leaves] = None
        return room

    def enter(self, member: M, peer: Peer, now: float) -> None:
        """Give a new connection its place."""
        self._members[member] = peer
        self._held[peer.name] += 1
        self._all.add(member, now)
        if not peer.exempt:
            self._of.setdefault(peer.name, Idlest()).add(member, now)
            if self._held[peer.name] > self._share:
                self._crowds.add(peer.name)

    def leave(self, member: M) -> None:
        """Learn that a connection is gone: its place is free, if it had one."""
        self._closing.discard(member)
        if member in self:
            self._free(member)

    @property
    def closing(self) -> int:
        """Number of connections that were to be closed for others, and are not gone yet."""
        return len(self._closing)

    def _free(self, member: M) -> None:
        self._settle(member)
        self._leaving.pop(member, None)
        name = self._members.pop(member).name
        self._held[name] -= 1
        if self._held[name] <= self._share:
            self._crowds.discard(name)
        if not self._held[name]:
            del self._held[name]
            self._of.pop(name, None)

    def _room(self, peer: Peer, now: float) -> Room[M]:
        total, spare, per_address, patience = self._bounds
        held = self._held[peer.name]
        if 0 < per_address <= held and not peer.exempt:
            return Room(refused=Full.ADDRESS)
        full, short = len(self) >= total, len(self) - len(self._leaving) >= total - spare
        if not (full or short):
            return FREE
        crowded = not peer.exempt and held >= self._share
        idle = self._of[peer.name].find(now, patience) if crowded else self._find(now, patience)
        closes = (self._left_longest() or idle) if full else None
        if crowded and idle is None:
            return Room(refused=Full.ADDRESS)
        if full and closes is None:
            return Room(refused=Full.CONNECTIONS)
        return Room(leaves=idle if short and idle is not closes else None, closes=closes)

    def _find(self, now: float, patience: float) -> M | None:
        """Return the idlest of the address that has most, if it has more than its share, else of all."""
        for name in sorted(self._crowds, key=self._held.__getitem__, reverse=True):
            found = self._of[name].find(now, patience)
            if found is not None:
                return found
        return self._all.find(now, patience)

    def _left_longest(self) -> M | None:
        return next((each for each in self._leaving if not each.asked or each.idle_since is not None), None)

    def _settle(self, member: M) -> None:
        """Drop a connection from those that may be asked to leave."""
        self._all.discard(member)
        group = self._of.get(self._members[member].name)
        if group is not None:
            group.discard(member)


def _share(bounds: Bounds) -> int:
    return max(1, bounds.total // SHARE)
