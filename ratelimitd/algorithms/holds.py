"""Holds: parts of a limit that requests keep while they are in progress, until they settle or a time is over.

A hold has a name, of the call that took it and its amount, so nothing else has to be kept than names, their expiries
and the sum of their amounts. ``lua/holds.lua`` keeps them in one sorted set. A limit with holds has a counter besides,
whose algorithm knows nothing of them; only requests in progress at once (CONCURRENT) are holds alone.

A settlement without a lease releases the newest hold, never the oldest: a hold of an answer that never settles would
stay for ever, at the head of a queue that moves on. So it sinks, and expires.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from ratelimitd.value import Value

from .amounts import HOLDS_MOST
from .rate import CONCURRENT, LOOK, NEVER, SECOND, SETTLES, Decision, Rate, RateError
from .table import take_step

EXPIRED_MOST: Final = 128
"""Expired holds that one charge removes: more would block Redis, as more charges than that in a call would."""

ID_BYTES: Final = 16
"""Hexadecimal digits of the id of a call: 64 random bits, which are not guessed."""

AMOUNTS_MOST: Final = 16
"""Amounts in a lease: as many as a descriptor has limits."""

DIGITS_MOST: Final = 10
"""Digits of an amount: at most those of 2**32."""

NO_LEASE: Final = (b"", b"none")
"""Values of the entry that say that a request has no lease; ``none`` is the documented ``default_value`` for Envoy."""

OWN: Final = b"."
SHARED: Final = b":"
MIXED: Final = b"+"
"""What follows the id in a lease: where its holds are. On the counters of their keys; on counters that new keys share
when there are too many; some here and some there."""

ALL: Final = -1
"""``Hold.amount`` of a charge that releases all holds, as an operator does who resets a counter."""

RENEW: Final = -2
"""``Hold.amount`` of a settlement that has the hold of its name expire later. One that has expired is taken again,
whatever is left: its request is still in progress."""

UNKNOWN: Final = (b"?",)
"""Names of a lease that none of ours can be."""


class Reserve(NamedTuple):
    """What each request of a limit holds while it is in progress.

    Attributes:
        amount: hits; 0: learnt from settlements.
        start: hits until something was learnt.
        ttl: µs after which a hold expires.
    """

    amount: int = 0
    start: int = 2_000
    ttl: int = 300 * SECOND


class Hold(Value):
    """What one charge does with the holds of its counter.

    Attributes:
        ttl: µs after which a hold that it takes expires.
        amount: hits that a question or request needs besides its cost; 0 of a settlement; ALL; RENEW.
        names: the name under which a request takes the amount, if it takes it; the names that a settlement releases;
            the one that it renews.
        newest: whether a settlement releases the newest hold, as one without a lease does.
    """

    __match_args__ = ("ttl", "amount", "names", "newest")
    __slots__ = __match_args__

    def __init__(self, ttl: int, amount: int = 0, names: tuple[bytes, ...] = (), newest: bool = False) -> None:
        self.ttl = ttl
        self.amount = amount
        self.names = names
        self.newest = newest


class HoldDecision(Decision):
    """The decision on a charge of a limit with holds.

    Attributes:
        held: hits that are held after it; ``remaining`` is without them.
        moved: hits that it took, or released.
        expired: holds that were found to have expired.
    """

    __match_args__ = (*Decision.__match_args__, "held", "moved", "expired")
    __slots__ = ("expired", "held", "moved")

    def __init__(
        self,
        allowed: bool,
        remaining: int,
        reset_after: int,
        retry_after: int,
        before: int,
        held: int = 0,
        moved: int = 0,
        expired: int = 0,
    ) -> None:
        super().__init__(allowed, remaining, reset_after, retry_after, before)
        self.held = held
        self.moved = moved
        self.expired = expired


class Holds:
    """The holds of one counter. Unlike the state of an algorithm it changes in place.

    Attributes:
        held: sum of the amounts.
    """

    __slots__ = ("_expiries", "_order", "held")

    def __init__(self) -> None:
        self.held = 0
        self._expiries: dict[bytes, int] = {}
        self._order: list[tuple[int, bytes]] = []

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, name: object) -> bool:
        return name in self._expiries

    @property
    def first(self) -> int:
        """Time at which the first hold expires; 0 if there is none."""
        return self._order[0][0] if self._order else 0

    @property
    def last(self) -> int:
        """Time at which the last hold expires; 0 if there is none."""
        return self._order[-1][0] if self._order else 0

    def expire(self, now: int) -> int:
        """Remove the holds that have expired, the oldest of many. Return their number."""
        order, count = self._order, 0
        while count < EXPIRED_MOST and count < len(order) and order[count][0] <= now:
            name = order[count][1]
            self.held -= amount_of(name)
            del self._expiries[name]
            count += 1
        if count:
            del order[:count]
        return count

    def take(self, name: bytes, expiry: int) -> int:
        """Add a hold. Return its amount; 0 if there is one of this name."""
        if name in self._expiries:
            return 0
        amount = amount_of(name)
        self._expiries[name] = expiry
        insort(self._order, (expiry, name))
        self.held += amount
        return amount

    def release(self, names: Iterable[bytes]) -> int:
        """Remove the first of these holds that there is. Return its amount; 0 if there is none."""
        for name in names:
            expiry = self._expiries.pop(name, -1)
            if expiry >= 0:
                del self._order[bisect_left(self._order, (expiry, name))]
                amount = amount_of(name)
                self.held -= amount
                return amount
        return 0

    def release_newest(self) -> int:
        """Remove the hold that expires last. Return its amount; 0 if there is none."""
        return self.release((self._order[-1][1],)) if self._order else 0

    def release_all(self) -> int:
        """Remove all holds. Return the sum of their amounts."""
        held, self.held = self.held, 0
        self._expiries.clear()
        self._order.clear()
        return held


def charge(
    state: Any, holds: Holds, rate: Rate, cost: int, now: int, flags: int, hold: Hold
) -> tuple[Any, HoldDecision]:
    """Decide one charge on a counter and its holds, which it changes; return the state of the counter.

    A question or request passes if its cost, its own hold and those of others fit besides what is used; with nothing
    held by others one unit is enough, else a part of the limit as large as a hold could never be used. It pays its
    cost, and the hold is not part of the counter. A call that charges a counter twice holds once. A settlement releases
    a hold first; it is recorded whatever is left.
    """
    expired = holds.expire(now)
    settles, moved = flags >= SETTLES, 0
    if hold.amount == ALL:
        moved = holds.release_all()
    elif settles and cost >= 0:
        moved = holds.release_newest() if hold.newest else holds.release(hold.names)
        if hold.amount == RENEW:
            holds.take(hold.names[0], now + hold.ttl)
    after, decision = _counted(state, holds, rate, cost, now, flags)
    allowed, retry = decision.allowed, decision.retry_after
    if allowed and cost >= 0 and not settles:
        used = 0 if rate.algorithm == CONCURRENT else decision.before + cost
        others = holds.held - (hold.amount if hold.names and hold.names[0] in holds else 0)
        if others and used + others + hold.amount > rate.burst:
            after, decision = _counted(state, holds, rate, 0, now, LOOK)
            allowed, retry = False, SECOND
        elif hold.names:
            moved = holds.take(hold.names[0], now + hold.ttl)
    left = max(0, decision.remaining - holds.held)
    return after, HoldDecision(allowed, left, decision.reset_after, retry, decision.before, holds.held, moved, expired)


def _counted(state: Any, holds: Holds, rate: Rate, cost: int, now: int, flags: int) -> tuple[Any, Decision]:
    """Decide a charge by the counter alone. Requests in progress have none: the places taken are the count."""
    if rate.algorithm != CONCURRENT:
        return take_step(state, rate, cost, now, flags)
    never = rate.quota == 0 and cost >= 0 and flags < SETTLES
    return None, Decision(not never, rate.quota, 0, NEVER if never else 0, holds.held)


def concurrent_rate(places: int, ttl: int) -> Rate:
    """Return the rate of a limit on requests in progress at once, whose places are free after ``ttl`` µs at last."""
    if not 0 <= places <= HOLDS_MOST:
        raise RateError(f"{places} requests at once are out of range: write 0 to {HOLDS_MOST}")
    return Rate(CONCURRENT, places, ttl, places, count_rejected=True, numbers=())


def is_by_holds(rate: Rate, decision: Decision, need: int) -> bool:
    """Whether a charge that needs this much was refused by the holds of others alone."""
    if decision.allowed or decision.retry_after == NEVER:
        return False
    return rate.algorithm == CONCURRENT or decision.before + need <= rate.burst


def name_of(call: bytes, amount: int) -> bytes:
    """Return the name of a hold of a call."""
    return b"%b.%d" % (call, amount)


def amount_of(name: bytes) -> int:
    """Return the amount in the name of a hold."""
    return int(name[ID_BYTES + 1 :])


def lease_of(call: bytes, amounts: Sequence[int], where: bytes = OWN) -> bytes:
    """Return the lease of the holds of a call."""
    if len(amounts) == 1:  # as in most leases; the general way costs four times as much
        return b"%b%b%d" % (call, where, amounts[0])
    return call + where + b".".join([b"%d" % amount for amount in dict.fromkeys(amounts)][:AMOUNTS_MOST])


def where_held(lease: bytes) -> bytes:
    """Return where the holds of a lease of ours are: OWN, SHARED or MIXED."""
    return lease[ID_BYTES : ID_BYTES + 1]


def names_of(lease: bytes) -> tuple[bytes, ...]:
    """Return the names that the holds of a lease may have, one for each of its amounts; UNKNOWN if it is none of ours.

    A lease comes from a caller, so a name may not be anything that ``name_of`` does not return.
    """
    if len(lease) > ID_BYTES + AMOUNTS_MOST * (DIGITS_MOST + 1):
        return UNKNOWN
    call, amounts = lease[:ID_BYTES], lease[ID_BYTES + 1 :].split(b".")
    if where_held(lease) not in (OWN, SHARED, MIXED) or call.strip(b"0123456789abcdef") or len(amounts) > AMOUNTS_MOST:
        return UNKNOWN
    for amount in amounts:
        if not amount.isdigit() or len(amount) > DIGITS_MOST or amount[:1] == b"0":
            return UNKNOWN
    return tuple([b"%b.%b" % (call, amount) for amount in amounts])
