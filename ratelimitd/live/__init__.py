"""What happens now: limits with their rates, the keys that use them up, recent denials; and the documents that show it.

The model is filled by the engine (``limiter.Watcher``), and ticked by its edge::

    live = Live(max_bytes, secret, started, tallies, modes)     # started: wall-clock µs
    engine.watcher = live
    for _ in live.tick(now, decided): await sleep(0)            # every second; decided: (ok, over, failed) of the engine

A ``View`` is what a document is made from: the model and the policy now, and how they may be shown::

    View(live, policy, now, plain, text, where)
        now    wall-clock µs
        plain  True with the token: keys as they are; else hashed
        text   descriptor_text.show
        where  (DescriptorNode, index of the limit) -> {"file", "line"} | {"resource", "line"} | None

Documents are dicts as docs/live.md describes them, with "version" and "time". Those that walk the policy are generators,
which yield between slices of at most 2 ms, and return the document: ``document = yield from limits(...)``, or in a loop
with ``StopIteration.value``; ``complete(generator)`` is for tests and tools that hold no event loop::

    overview(view) -> dict                        rates, decisions, totals, last, live; the edge adds replica, store, ...
    history(view) -> dict
    limits(view, LimitsQuery(search, sort, descending, limit, offset)) -> Generator[None, None, dict]
    limit(view, id) -> Generator[None, None, dict | None]           None: no limit has this id
    denials(view, id=None, most=100, after=0) -> dict               after: serial of a denial, ``live.denials.serial``
    busiest(view, most=100) -> dict                                 of ``event: limits``
    found(view, id) -> Generator[None, None, Found | None]          Found(domain: bytes, path: bytes, item: str,
                                                                    node: DescriptorNode | None, index: int, limit: Limit)
    shown_descriptor(live.secret, plan, position, plain, text) -> tuple[str, str | None]
                                                                    (key, descriptor) of a descriptor of any plan
    limit_id(domain, path, item) -> str                             16 hex digits; path as ``NodeRules.path``

Documents of several replicas are merged into one::

    fault(kind, document) -> str                                    why a document cannot be merged, "" if it can
    merged(kind, documents) -> dict                                 kind: a key of ``KINDS``; rows in no certain order
    arranged(kind, document, query) -> dict                         sorted and cut as the query of the page says
"""

from typing import NamedTuple

from .merging import KINDS, arranged, merged
from .shapes import fault

__all__ = ["KINDS", "LimitsQuery", "arranged", "fault", "merged"]


class LimitsQuery(NamedTuple):
    """A stub until the model is there."""

    search: str = ""
    sort: str = "denied"
    descending: bool = True
    limit: int = 100
    offset: int = 0
