"""The algorithms by themselves: a step in Python, a charge in Redis, and what a key takes in either store."""

import asyncio
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import redis as client
import uvloop

from bench.measure import Spread, digits, spread, thousands
from bench.policy import DOMAIN, KEYS, policy, user
from bench.report import Report
from ratelimitd.algorithms import ALGORITHMS, make_rate
from ratelimitd.limiter import Ask, Failure, Plan, Planner, PlanOptions, Request, Tallies, key_maker
from ratelimitd.policy import Descriptor, parse
from ratelimitd.stores import MemoryStore, RedisStore
from ratelimitd.stores.redis import Address, Place, RedisOptions
from testkit import server
from testkit.errors import BenchError
from testkit.machine import Cores, cores, cpu_seconds, on_core

SECOND: Final = 1_000_000
BATCHES: Final = (1, 16, 128)
"""Charges a script call: one caller alone, a busy loop's tick, and the most there are."""

QUOTA: Final = 1_000
"""A second, in the steps; one comes each ms, so that every state is as full as it gets."""

MEMORY: Final = 1 << 30
"""Bytes of the store that is filled: no key has to go."""

COLUMNS: Final = (
    "algorithm", "step ns", *(f"Redis µs, {n} a call" for n in BATCHES), *(f"server µs, {n}" for n in BATCHES[1:]),
    "bytes/key", "traced", "in Redis",
)  # fmt: skip


class Scale(NamedTuple):
    """How much to measure; ``charges`` a repeat through Redis at each size of batch, ``keys`` to fill a store with."""

    repeats: int = 3
    steps: int = 200_000
    charges: int = 100_000
    keys: int = 100_000


QUICK: Final = Scale(repeats=1, steps=20_000, charges=5_000, keys=10_000)


def measure(scale: Scale, command: str) -> Report:
    """Measure every algorithm."""
    where = cores()
    with server.redis(where) as (address, pid), on_core(where.server):
        data = [
            {
                "algorithm": name,
                "step_ns": steps(name, scale)._asdict(),
                **uvloop.run(charges(name, scale, address, pid)),
                **memory(name, scale),
            }
            for name in ALGORITHMS
        ]
    return Report(
        "algorithms",
        "Algorithms: a step in Python, a charge in Redis, a key in memory",
        COLUMNS,
        [_row(each) for each in data],
        _notes(scale, where),
        data,
        command,
    )


def _notes(scale: Scale, where: Cores) -> list[str]:
    step = f"one charge each ms against {QUOTA:,} a second, so that sliding_window holds {QUOTA:,} charges"
    redis = f"script calls one at a time over 1,024 keys, packed and unpacked by the store; Redis on core {where.redis}"
    return [
        f"{scale.repeats} repeats, median (least-most)",
        f"a step: {step}",
        f"Redis µs a charge: wall time of {redis}; server µs: CPU of redis-server a charge",
        f"bytes: {scale.keys:,} keys charged once, as the store counts them and as tracemalloc does; MEMORY USAGE",
    ]


def steps(name: str, scale: Scale) -> Spread:
    """Return ns for one step in Python."""
    rate = make_rate(name, QUOTA, SECOND)
    step = ALGORITHMS[name].step
    state, now = None, 1_700_000_000 * SECOND

    def go(count: int) -> float:
        nonlocal state, now
        start = time.process_time_ns()
        for _ in range(count):
            state, _ = step(state, rate, 1, now)
            now += 1000
        return (time.process_time_ns() - start) / count

    go(2 * QUOTA)
    return spread(go(scale.steps) for _ in range(scale.repeats))


def plans(name: str, keys: int, *, shared: bool) -> Iterator[Plan]:
    """Plan the requests of so many users, each with a counter of its own, as the service would."""
    planner = Planner(
        parse([("bench", policy(algorithm=name).encode())]),
        key_maker(b"", safe=not shared),
        Tallies(),
        PlanOptions(),
    )
    key = KEYS[0].encode()
    for number in range(keys):
        descriptor = Descriptor(((key, user(number).encode()),))
        yield planner.plan(Request(DOMAIN.encode(), (descriptor,)))


async def charges(name: str, scale: Scale, address: str, pid: int) -> dict[str, Any]:
    """Return µs a charge by batch size: wall time, and CPU of redis-server; and bytes a key there."""
    host, _, port = address.rpartition(":")
    redis = RedisStore(RedisOptions(Place((Address(host, int(port)),)), budget=60.0))
    if not await redis.connect():
        raise BenchError(f"Redis at {address} cannot be reached")
    planned = [*plans(name, 1024, shared=True)]
    wall: dict[int, list[float]] = {size: [] for size in BATCHES}
    cpu: dict[int, list[float]] = {size: [] for size in BATCHES}
    try:
        with client.Redis.from_url(f"redis://{address}") as look:
            look.flushall()
            await _charge(redis, planned, 128, 1024)
            size = sum(look.memory_usage(key, samples=0) or 0 for key in look.scan_iter(count=1000)) / 1024
            for batch in BATCHES * scale.repeats:
                count = scale.charges // (8 if batch == 1 else 1) // batch * batch
                used, start = cpu_seconds(pid), time.perf_counter()
                await _charge(redis, planned, batch, count)
                wall[batch].append((time.perf_counter() - start) / count * 1e6)
                cpu[batch].append((cpu_seconds(pid) - used) / count * 1e6)
    finally:
        await redis.close()
    return {
        "redis_us": {str(batch): spread(values)._asdict() for batch, values in wall.items()},
        "redis_cpu_us": {str(batch): spread(values)._asdict() for batch, values in cpu.items()},
        "redis_bytes": size,
    }


async def _charge(redis: RedisStore, planned: Sequence[Plan], batch: int, count: int) -> None:
    """Charge so many times, in calls of one batch each, one call at a time."""
    loop = asyncio.get_running_loop()
    for start in range(0, count, batch):
        asks = [Ask(plan, [1]) for plan in (planned[(start + n) % len(planned)] for n in range(batch))]
        finished: asyncio.Future[None] = loop.create_future()
        left = batch

        def done(group: Sequence[Ask], finished: "asyncio.Future[None]" = finished) -> None:
            nonlocal left
            left -= len(group)
            if not left:
                finished.set_result(None)

        redis.charge(asks, time.time_ns() // 1000, done)
        await finished
        failed = next((ask.outcomes[0] for ask in asks if isinstance(ask.outcomes[0], Failure)), None)
        if failed is not None:
            raise BenchError(f"a charge in Redis failed: {failed}")


def memory(name: str, scale: Scale) -> dict[str, float]:
    """Return bytes a key in memory: as the store counts, and as tracemalloc does, keys and all."""
    store = MemoryStore(MEMORY)
    now = 1_700_000_000 * SECOND
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for plan in plans(name, scale.keys, shared=False):
        store.charge([Ask(plan, [1])], now, lambda _: None)
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return {"memory_bytes": store.bytes / len(store), "memory_traced": taken / len(store)}


def _row(each: dict[str, Any]) -> list[str]:
    def redis(name: str, batch: int) -> str:
        return Spread(**each[name][str(batch)]).show(digits)

    return [
        each["algorithm"],
        Spread(**each["step_ns"]).show(thousands),
        *(redis("redis_us", batch) for batch in BATCHES),
        *(redis("redis_cpu_us", batch) for batch in BATCHES[1:]),
        *(thousands(each[name]) for name in ("memory_bytes", "memory_traced", "redis_bytes")),
    ]
