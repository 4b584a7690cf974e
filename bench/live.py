"""The live view: what it costs a call, what open pages cost, its documents, and its memory."""

import json
import random
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final, NamedTuple

from bench.beside import FORM, ratios
from bench.builds import STORE_BUDGET, builds
from bench.cases import STORES
from bench.load import Load, run
from bench.measure import Spread, digits, shown, spreads
from bench.policy import policy, requests
from bench.report import Report
from bench.rls import CONNECTIONS, STREAMS
from testkit import server
from testkit.errors import BenchError
from testkit.machine import Cores, cores, cpu_seconds, pinned, rss_bytes
from testkit.server import Subject

DESCRIPTORS: Final = 3
RATE: Final = 100
"""Calls per second, evenly spaced, while pages are open: there is something to show, and pages are most of the work."""

MIB: Final = 1 << 20
SEED: Final = 1
COLUMNS: Final = ("number", "with", "without", "with ÷ without")

READERS: Final = """
import asyncio, sys
host, port, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
async def read(opened):
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET /live/events HTTP/1.1\\r\\nHost: {host}:{port}\\r\\n\\r\\n".encode())
    head = await reader.readuntil(b"\\r\\n\\r\\n")
    if b" 200 " not in head:
        sys.exit(head.decode())
    await reader.readuntil(b"event: overview")
    opened.release()
    while await reader.read(65536):
        pass
    sys.exit("a page lost its events")
async def main():
    opened = asyncio.Semaphore(0)
    reading = [asyncio.create_task(read(opened)) for _ in range(number)]
    for _ in reading:
        await opened.acquire()
    print("open", flush=True)
    await asyncio.gather(*reading)
asyncio.run(main())
"""
"""A process that reads the events of so many pages."""


class Scale(NamedTuple):
    """How much to measure: ``keys`` of skewed users, ``calls`` of them that are repeated, ``pages`` that are open."""

    repeats: int = 5
    seconds: float = 5.0
    warm: float = 0.5
    limits: int = 10_000
    keys: int = 100_000
    calls: int = 200_000
    pages: int = 200
    documents: int = 50


QUICK: Final = Scale(repeats=1, seconds=1.0, warm=0.2, limits=1_000, keys=2_000, calls=4_000, pages=20, documents=3)


def measure(scale: Scale, command: str) -> Report:
    """Measure the service with the live view and without, alternately; then open pages, and documents."""
    where, (chosen, notes) = cores(), builds()
    transport, env = chosen[0].transport, chosen[0].env
    frames = skewed(scale)
    data: list[dict[str, Any]] = []
    for store in ("memory", "redis"):
        with services(transport, env, store, scale, where) as (on, off):
            data += cost(store, on, off, frames, scale, where)
            if store == "memory":
                data += [pages(on, frames, scale, where), *documents(on, scale)]
    rows = [_row(each) for each in data]
    notes = [*_about(scale, chosen[0].name, where), *notes]
    return Report("live", "The live view: with it and without", COLUMNS, rows, notes, data, command)


def _about(scale: Scale, build: str, where: Cores) -> Iterator[str]:
    yield (
        f"{DESCRIPTORS} descriptors a call, {scale.limits:,} limits, {scale.keys:,} keys, the nth with one call for n "
        f"of the first; {build}, on core {where.server}, load on core {where.load}"
    )
    yield (
        f"{scale.repeats} repeats of {scale.seconds:g} s, with and without (LIVE_MAX_BYTES=0) in turn, median "
        "(least-most); ÷ is of each round"
    )
    yield f"pages: readers of /live/events over sockets of their own, beside {RATE:,} calls/s; CPU of the service"
    yield "documents: CPU of the service for one, for one reader, after these calls"


def skewed(scale: Scale) -> list[bytes]:
    """Return the calls of users as they come: the nth user has one for n of the first (Zipf's law)."""
    users = list(requests(DESCRIPTORS, scale.keys))
    weights = [1 / (rank + 1) for rank in range(len(users))]
    return random.Random(SEED).choices(users, weights, k=scale.calls)


@contextmanager
def services(
    transport: str, env: Mapping[str, str], store: str, scale: Scale, where: Cores
) -> Iterator[tuple[Subject, Subject]]:
    """Run the service with the live view, and without; each with a store of its own."""
    text = policy(scale.limits, descriptors=DESCRIPTORS)
    with ExitStack() as stack:
        started = []
        for view in ({}, {"LIVE_MAX_BYTES": "0"}):
            settings = {**env, **view}
            if store == "redis":
                settings |= {"REDIS_URL": stack.enter_context(server.redis(where))[0], "STORE_BUDGET": STORE_BUDGET}
            started.append(stack.enter_context(server.service(transport, text, where.server, settings)))
        yield started[0], started[1]


def cost(
    store: str, on: Subject, off: Subject, frames: Sequence[bytes], scale: Scale, where: Cores
) -> list[dict[str, Any]]:
    """Return rows of the CPU of a call, and of the memory after all calls."""
    rounds: dict[str, list[dict[str, float]]] = {"with": [], "without": []}
    for number in range(scale.repeats):
        turn = [("with", on), ("without", off)]
        for name, subject in turn if number % 2 == 0 else turn[::-1]:
            warm = len(frames) if number == 0 else 0
            load = Load(CONNECTIONS, STREAMS, scale.seconds, scale.warm, warm)
            busy = run(subject.address, frames, load, where.load, watch=[subject.pid])
            rounds[name].append({"cpu": busy.cpu[0] / busy.calls * 1e6, "mib": rss_bytes(subject.pid) / MIB})
    named = {"cpu": "CPU µs of a call", "mib": "resident MiB"}
    return [_compared(f"{text}, {STORES[store]}", rounds, number) for number, text in named.items()]


def _compared(name: str, rounds: Mapping[str, Sequence[Mapping[str, float]]], number: str) -> dict[str, Any]:
    found: dict[str, Any] = {"number": name}
    found |= {key: spreads(each)[number]._asdict() for key, each in rounds.items()}
    ratio = ratios(rounds["with"], rounds["without"], number)
    return found | ({} if ratio is None else {"ratio": ratio._asdict()})


def pages(on: Subject, frames: Sequence[bytes], scale: Scale, where: Cores) -> dict[str, Any]:
    """Return a row with the part of a core that open pages take, and that the same calls take without them."""
    rounds: dict[str, list[dict[str, float]]] = {"with": [], "without": []}
    for _ in range(scale.repeats):
        rounds["without"].append({"core": _core(on, frames, scale, where)})
        with opened(on, scale.pages, where):
            rounds["with"].append({"core": _core(on, frames, scale, where)})
    return _compared(f"% of a core, {scale.pages} open pages", rounds, "core")


def _core(subject: Subject, frames: Sequence[bytes], scale: Scale, where: Cores) -> float:
    """Return the part of a core in per cent that a service takes, with all that is asked of it meanwhile."""
    took = 0.0

    def during() -> None:
        nonlocal took
        began, before = time.monotonic(), cpu_seconds(subject.pid)
        time.sleep(2 * scale.seconds)  # a whole step of the model, 10 s
        took = (cpu_seconds(subject.pid) - before) / (time.monotonic() - began)

    run(subject.address, frames, Load(4, 16, server.START_SECONDS, scale.warm, rate=RATE), where.load, during=during)
    return 100 * took


@contextmanager
def opened(subject: Subject, number: int, where: Cores) -> Iterator[None]:
    """Keep so many pages open that read their events; raises BenchError if one cannot be opened, or ends."""
    host, _, port = subject.debug.rpartition(":")
    command = pinned(where.load, [sys.executable, "-c", READERS, host, port, str(number)])
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "open\n":
            raise BenchError(f"the pages cannot be opened:\n{process.communicate()[1]}")
        yield
        if process.poll() is not None:
            raise BenchError(f"the pages did not stay open:\n{process.communicate()[1]}")
    finally:
        process.kill()
        process.communicate()


def documents(on: Subject, scale: Scale) -> Iterator[dict[str, Any]]:
    """Yield a row for each document: CPU in ms; and one with the bytes of the model."""
    which = _read(on, "/live/limits?limit=1&sort=rate")["limits"][0]["id"]
    paths = {
        "/live/overview": "/live/overview",
        "/live/limits, 100 of them": "/live/limits?limit=100",
        "/live/limit": f"/live/limit?id={which}",
        "/live/what-if": f"/live/what-if?id={which}&requests_per_unit=5",
    }
    for name, path in paths.items():
        before = cpu_seconds(on.pid)
        for _ in range(scale.documents):
            _read(on, path)
        took = (cpu_seconds(on.pid) - before) / scale.documents * 1e3
        yield {"number": f"CPU ms of {name}", "with": Spread(took, took, took)._asdict()}
    kept = _read(on, "/live/overview")["live"]
    size = kept["bytes"] / MIB
    most = f"of {kept['max_bytes'] / MIB:.1f} MiB (LIVE_MAX_BYTES)"
    yield {"number": f"MiB of the model {most}", "with": Spread(size, size, size)._asdict()}


def _read(subject: Subject, path: str) -> Any:
    with urllib.request.urlopen(f"http://{subject.debug}{path}", timeout=server.START_SECONDS) as answer:
        return json.load(answer)


def _row(each: Mapping[str, Any]) -> list[str]:
    cells = [shown(each, name, 1, digits) if name in each else "" for name in ("with", "without")]
    return [each["number"], *cells, Spread(**each["ratio"]).show(FORM.format) if "ratio" in each else ""]
