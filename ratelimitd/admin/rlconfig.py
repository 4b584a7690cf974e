"""/rlconfig: every active limit, one per line, sorted.

A line has envoyproxy/ratelimit's format; properties that it cannot express are appended, so its parsers still work.
"""

import asyncio
import heapq
from collections.abc import AsyncGenerator, Callable, Iterator
from itertools import chain
from typing import Final

from ratelimitd.algorithms import SECOND
from ratelimitd.observe.loop import batches
from ratelimitd.policy import Limit, OnStoreFailure, Policy
from ratelimitd.printable import printable

SLICE: Final = 200
"""Descriptors written, or lines sorted, before yielding to the event loop: at most half a millisecond of work."""


async def render(active: Callable[[], Policy | None]) -> AsyncGenerator[bytes, None]:
    """Yield the lines in chunks. Slices are sorted separately and merged, since one sort would block the event loop.

    A policy that is replaced during the listing is dismantled, so the listing restarts with the new one.
    """
    runs: list[list[str]] | None = None
    while runs is None:
        runs = await _sorted_runs(active)
    for merged in batches(heapq.merge(*runs), SLICE):
        yield "".join(merged).encode()
        await asyncio.sleep(0)


async def _sorted_runs(active: Callable[[], Policy | None]) -> list[list[str]] | None:
    policy = active()
    runs: list[list[str]] = []
    for part in batches(lines(policy), SLICE):
        runs.append(sorted(chain.from_iterable(part)))
        await asyncio.sleep(0)
        if active() is not policy:
            return None
    return runs


def lines(policy: Policy | None) -> Iterator[list[str]]:
    """Yield one list of lines per descriptor, empty for a descriptor without limits."""
    for domain in policy.domains.values() if policy else ():
        steps = [(_shown(domain.name), iter(domain.root.children.values()))]
        while steps:
            above, nodes = steps[-1]
            node = next(nodes, None)
            if node is None:
                steps.pop()
                continue
            path = f"{above}.{_shown(node.final_key)}"
            yield [line(path, limit) for limit in node.limits]
            steps.append((path, iter(node.children.values())))


def line(path: str, limit: Limit) -> str:
    """Return the line of one limit."""
    unit, requests = ("UNKNOWN", 0) if limit.rate is None else (limit.unit.name, limit.requests_per_unit)
    extensions = "".join(f" {name}: {value}" for name, read in EXTENSIONS.items() if (value := read(limit)))
    return (
        f"{path}: unit={unit} requests_per_unit={requests}, shadow_mode: {_yes(limit.shadow_mode)},"
        f" quota_mode: {_yes(limit.quota_mode)}{extensions}\n"
    )


def _algorithm(limit: Limit) -> str:
    return limit.rate.algorithm if limit.rate and limit.rate.algorithm != "fixed_window" else ""


def _burst(limit: Limit) -> str:
    return str(limit.rate.burst) if limit.rate and limit.rate.burst != limit.rate.quota else ""


def _multiplier(limit: Limit) -> str:
    return str(limit.unit_multiplier) if limit.unit_multiplier != 1 else ""


def _count_rejected(limit: Limit) -> str:
    uncounted = limit.rate and limit.rate.algorithm == "fixed_window" and not limit.rate.count_rejected
    return "false" if uncounted else ""


def _on_store_failure(limit: Limit) -> str:
    return limit.on_store_failure.name.lower() if limit.on_store_failure is not OnStoreFailure.ERROR else ""


def _charge(limit: Limit) -> str:
    return limit.charge.name.lower() if limit.charge and limit.reserve is None else ""


def _reserve(limit: Limit) -> str:
    if limit.reserve is None or not limit.unit:
        return ""
    return str(limit.reserve.amount or "auto")


def _ttl(limit: Limit) -> str:
    return "" if limit.reserve is None else f"{limit.reserve.ttl / SECOND:g}s"


def _queue(limit: Limit) -> str:
    queue = limit.queue
    return "" if queue is None else f"{queue.length} for {queue.timeout / SECOND:g}s"


def _overlaid(limit: Limit) -> str:
    return ", ".join(f"{key} (line {number})" for key, number in limit.overlaid)


EXTENSIONS: Final[dict[str, Callable[[Limit], str]]] = {
    "algorithm": _algorithm,
    "burst": _burst,
    "unit_multiplier": _multiplier,
    "count_rejected": _count_rejected,
    "charge": _charge,
    "reserve": _reserve,
    "ttl": _ttl,
    "queue": _queue,
    "on_store_failure": _on_store_failure,
    "limit": lambda limit: limit.item,
    "overlay": _overlaid,
}
"""Properties that upstream's line lacks, by key of the policy file; shown if they differ from upstream's behavior.

``overlay``: the keys that an overlay says, each with the line of the entry that it is from.
"""


def _shown(text: bytes) -> str:
    return printable(text.decode(errors="backslashreplace"))


def _yes(value: bool) -> str:
    return "true" if value else "false"
