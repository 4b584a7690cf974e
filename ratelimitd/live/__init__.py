"""What happens now: limits with their rates, the keys that use them up, recent denials; the documents that show it.

The model is filled by the engine, as its ``limiter.Watcher``, and its edge ticks it::

    live = Live(max_bytes, secret, started, tallies, modes)   # started: wall-clock µs
    engine.watcher = live
    for _ in live.tick(now, decided): ...                     # each second, in slices; decided: requests of the engine
                                                              # (decided_ok, decided_over, decided_failed)

Documents are dicts as docs/live.md describes them, each with ``version`` and ``time``. A function of a ``View`` returns
one. Those that look at each limit of the policy, ``limits``, ``limit`` and ``found``, are generators: they yield
between slices of at most 2 ms and return the document. ``limits`` takes some 300 bytes for each limit that matches
meanwhile, so an edge makes one at a time.

Documents of several replicas are merged into one: ``fault`` says why one cannot be, ``merged`` adds them, and
``arranged`` sorts and cuts the rows of the result.
"""

from .documents import busiest, denials, history, limit, overview
from .history import NAMES, STEPS, Counts
from .keys import KEYS_LEAST, KEYS_MOST
from .listing import PAGE_MOST, SORTS, LimitsQuery, limits
from .merging import KINDS, arranged, merged
from .model import Live
from .shapes import fault
from .shown import shown_descriptor
from .view import Document, Found, Sliced, View, complete, found, limit_id
from .windows import STEP

__all__ = [
    "KEYS_LEAST",
    "KEYS_MOST",
    "KINDS",
    "NAMES",
    "PAGE_MOST",
    "SORTS",
    "STEP",
    "STEPS",
    "Counts",
    "Document",
    "Found",
    "LimitsQuery",
    "Live",
    "Sliced",
    "View",
    "arranged",
    "busiest",
    "complete",
    "denials",
    "fault",
    "found",
    "history",
    "limit",
    "limit_id",
    "limits",
    "merged",
    "overview",
    "shown_descriptor",
]
