"""What Redis' error texts mean: one table, and the two that say where to go instead."""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from ratelimitd.config.redis_address import RedisAddress
from ratelimitd.limiter import Failure, FailureKind

NOSCRIPT: Final = "NOSCRIPT"
"""The server ran nothing: it does not have the script (any more)."""


class Meaning(NamedTuple):
    """What a word in an error text means.

    Attributes:
        kind: of failure.
        blamed: the server fails everybody, so its breaker counts it; else it is about one key or one call.
        misplaced: it may be no master any more, and another server the right one to ask.
    """

    kind: FailureKind
    blamed: bool = False
    misplaced: bool = False


MEANINGS: Final[Mapping[str, Meaning]] = {
    "WRONGTYPE": Meaning(FailureKind.KEY),
    "not an integer": Meaning(FailureKind.KEY),
    "OOM": Meaning(FailureKind.OUT_OF_MEMORY),
    "READONLY": Meaning(FailureKind.TRANSIENT, blamed=True, misplaced=True),
    "MASTERDOWN": Meaning(FailureKind.TRANSIENT, blamed=True, misplaced=True),
    "CLUSTERDOWN": Meaning(FailureKind.TRANSIENT, blamed=True, misplaced=True),
    "LOADING": Meaning(FailureKind.TRANSIENT, blamed=True),
    "BUSY": Meaning(FailureKind.TRANSIENT, blamed=True),
    "MISCONF": Meaning(FailureKind.TRANSIENT, blamed=True),
    "NOREPLICAS": Meaning(FailureKind.TRANSIENT, blamed=True),
    "TRYAGAIN": Meaning(FailureKind.TRANSIENT),
    "MOVED": Meaning(FailureKind.TRANSIENT),
    "ASK": Meaning(FailureKind.TRANSIENT),
}
"""By a word in the text; the first that fits counts."""

TRYAGAIN: Final = "TRYAGAIN"
"""The server ran nothing: some keys of the call are here and some are on their way. One by one each has a place."""

PERMANENT: Final = Meaning(FailureKind.PERMANENT)
"""Of a text that no word fits: credentials, rights, or the script itself. It comes at once, so no breaker helps."""

UNNAMED: Final = ("", "?")
"""What a cluster says for a host whose name it does not know: it is the one that was asked."""

_REDIRECT: Final = re.compile(r"(MOVED|ASK) (\d{1,5}) (.*):(\d{1,5})", re.ASCII)


def meaning(message: str) -> Meaning:
    """Return what an error text of Redis means."""
    return next((meant for word, meant in MEANINGS.items() if word in message), PERMANENT)


def classify(message: str) -> Failure:
    """Return the failure that an error text of Redis is."""
    return Failure(meaning(message).kind, message)


class Redirect(NamedTuple):
    """Where a cluster sends a call instead. It ran nothing.

    Attributes:
        asking: for this one call, while a slot is on its way; else the slot lives there from now on.
    """

    asking: bool
    slot: int
    address: RedisAddress


def redirect(message: str, asked: RedisAddress) -> Redirect | None:
    """Read ``MOVED 3999 host:port`` or ``ASK 3999 host:port``; a host without a name is the one that was asked."""
    found = _REDIRECT.fullmatch(message)
    if found is None:
        return None
    kind, slot, host, port = found.groups()
    return Redirect(kind == "ASK", int(slot), RedisAddress(asked.host if host in UNNAMED else host, int(port)))
