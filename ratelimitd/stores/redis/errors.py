"""Error texts of Redis: a table of their meanings, and a parser for the two redirections of a cluster."""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from ratelimitd.config.redis_address import RedisAddress
from ratelimitd.limiter import Failure, FailureKind

from .slots import PORTS, SLOTS

NOSCRIPT: Final = "NOSCRIPT"
"""The server ran nothing, because it does not have the script (any more)."""


NOT_LOCAL: Final = "ttempted to "
"""Access a non local key, or execute a command while the cluster is down. It begins with ``Script attempted``, before
Redis 7 with ``Lua script attempted``, and since Valkey 9 with ``Attempted``."""

NOT_UP: Final = " while the cluster is down"
"""The second of them since Valkey 9: it cannot execute a command."""

NOT_HERE: Final = (NOT_LOCAL, NOT_UP, "READONLY")
"""A node refused the script a key that the call did not declare: its slot is elsewhere, or on its way, or the node has
become a replica. Nothing was done with the key. A call that declares it is redirected."""


UNANSWERED: Final = "upstream failure"
"""Envoy's redis_proxy lost a server, which may have run the call, or waited for it in vain."""


class Meaning(NamedTuple):
    """The meaning of a word in an error text.

    Attributes:
        kind: kind of the failure.
        node_fault: the node fails every call, so its breaker counts the error. If False, the error concerns one key
            or one call.
        not_master: the node may have been demoted, and another one may be the master.
    """

    kind: FailureKind
    node_fault: bool = False
    not_master: bool = False


MEANINGS: Final[Mapping[str, Meaning]] = {
    "WRONGTYPE": Meaning(FailureKind.KEY),
    "not an integer": Meaning(FailureKind.KEY),
    "OOM": Meaning(FailureKind.OUT_OF_MEMORY),
    "READONLY": Meaning(FailureKind.TRANSIENT, node_fault=True, not_master=True),
    "MASTERDOWN": Meaning(FailureKind.TRANSIENT, node_fault=True, not_master=True),
    "CLUSTERDOWN": Meaning(FailureKind.TRANSIENT, node_fault=True, not_master=True),
    "LOADING": Meaning(FailureKind.TRANSIENT, node_fault=True),
    "BUSY": Meaning(FailureKind.TRANSIENT, node_fault=True),
    "MISCONF": Meaning(FailureKind.TRANSIENT, node_fault=True),
    "NOREPLICAS": Meaning(FailureKind.TRANSIENT, node_fault=True),
    "TRYAGAIN": Meaning(FailureKind.TRANSIENT),
    "MOVED": Meaning(FailureKind.TRANSIENT),
    NOT_LOCAL: Meaning(FailureKind.TRANSIENT),
    NOT_UP: Meaning(FailureKind.TRANSIENT),
    "ASK": Meaning(FailureKind.TRANSIENT),
    "no upstream host": Meaning(FailureKind.TRANSIENT),
    UNANSWERED: Meaning(FailureKind.TRANSIENT),
}
"""By a word in the text; the first match applies. The last two are of Envoy's redis_proxy, about one of its servers."""

TRYAGAIN: Final = "TRYAGAIN"
"""The server ran nothing: the slot is being migrated, and some keys of the call are not there. They are at the other
server, or nowhere. Fewer keys may work; a counter and its holds are two, and work once both have moved."""

WHOLE_ASK: Final = (7, 0)
"""The first version whose ASK, to a call of several keys, says that none of them is there. Before, one may be."""

PERMANENT: Final = Meaning(FailureKind.PERMANENT)
"""For any other text: credentials, permissions or the script itself. Such an error costs no time: no breaker needed."""

CROSSSLOT: Final = "CROSSSLOT"
"""The server ran nothing: the call has keys of several slots. One key per call works."""

UNNAMED: Final = ("", "?")
"""Host names by which a cluster node denotes itself when it does not know its own name."""

_REDIRECT: Final = re.compile(r"(MOVED|ASK) (\d{1,5}) (.*):(\d{1,5})", re.ASCII)


def meaning(message: str) -> Meaning:
    """Return the meaning of an error text of Redis."""
    return next((entry for word, entry in MEANINGS.items() if word in message), PERMANENT)


def refuses(message: str) -> bool:
    """Whether an error can be that of every call though no breaker counts it: missing rights, a full memory …"""
    cause = meaning(message)
    return not cause.node_fault and cause.kind is not FailureKind.KEY


def is_not_here(message: str) -> bool:
    """Whether the error of a key that was not declared says that its slot is not, or not wholly, at this node."""
    return any(text in message for text in NOT_HERE)


def classify(message: str) -> Failure:
    """Return the failure for an error text of Redis: it ran nothing, unless a proxy cannot know."""
    return Failure(meaning(message).kind, message, sent=UNANSWERED in message)


def budget_text(seconds: float) -> str:
    """Return a store budget as errors name it."""
    return f"STORE_BUDGET ({seconds * 1000:g} ms)"


def over_budget(seconds: float) -> Failure:
    """Return the failure of a charge that had no reply in time; its call's own deadline may be shorter."""
    text = f"no reply from Redis within {budget_text(seconds)}, or the shorter deadline of the call"
    return Failure(FailureKind.TIMEOUT, text)


class Redirect(NamedTuple):
    """A redirection to another node of a cluster. The redirecting node ran nothing.

    Attributes:
        asking: the redirection applies to this call only, while the slot is being migrated (ASK). If False, the slot
            has moved permanently (MOVED).
    """

    asking: bool
    slot: int
    address: RedisAddress


def redirect(message: str, asked: RedisAddress) -> Redirect | None:
    """Parse ``MOVED 3999 host:port`` or ``ASK 3999 host:port``; an unnamed host is ``asked``. None for other texts."""
    found = _REDIRECT.fullmatch(message)
    if found is None:
        return None
    kind, slot, host, port = found.groups()
    if int(slot) >= SLOTS or not 0 < int(port) < PORTS:
        return None
    return Redirect(kind == "ASK", int(slot), RedisAddress(asked.host if host in UNNAMED else host, int(port)))
