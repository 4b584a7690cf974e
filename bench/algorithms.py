"""The algorithms alone: a step in Python, a charge in Redis, and the memory of a key in either store."""

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
from ratelimitd.algorithms import ALGORITHMS, BINDING, SECOND, make_rate
from ratelimitd.config.redis_address import Deployment, RedisAddress
from ratelimitd.limiter import Ask, Failure, LimitRequest, Plan, Planner, PlanOptions, Tallies, key_maker
from ratelimitd.policy import Descriptor
from ratelimitd.policy_file import parse
from ratelimitd.stores import MemoryStore, RedisStore
from ratelimitd.stores.redis import ConnectOptions, RedisOptions
from testkit import server
from testkit.errors import BenchError
from testkit.machine import Cores, cores, cpu_seconds, on_core

BATCHES: Final = (1, 16, 128)
"""Charges per script call: one caller, one event-loop iteration under load, and the maximum."""

QUOTA: Final = 1_000
"""Limit per second of the steps; with one charge per ms, each state is as full as possible."""

STORED: Final = 1_024
"""Keys in Redis."""

MEMORY: Final = 1 << 30
"""Size of the memory store in bytes, so large that no key is evicted."""

COLUMNS: Final = (
    "algorithm", "step ns", *(f"Redis µs, {n} per call" for n in BATCHES),
    *(f"server µs, {n} per call" for n in BATCHES[1:]), "bytes/key", "bytes/key, traced", "bytes/key, Redis",
)  # fmt: skip


class Scale(NamedTuple):
    """How much to measure.

    Attributes:
        steps: steps in Python per repeat.
        charges: charges in Redis per repeat and batch size.
        keys: keys in the memory store.
    """

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
    limit = f"a limit of {QUOTA:,} per second, so that sliding_window stores {QUOTA:,} charges"
    calls = (
        f"sequential script calls over {STORED:,} keys, encoded and decoded by the store; Redis on core {where.redis}"
    )
    kept = f"{scale.keys:,} keys in memory, charged once, as the store counts and as tracemalloc traces"
    return [
        f"{scale.repeats} repeats, median (least-most)",
        f"step: one charge per ms against {limit}",
        f"Redis µs: wall time per charge of {calls}; server µs: CPU of redis-server per charge",
        f"bytes/key: {kept}; {STORED:,} keys in Redis, charged once, by MEMORY USAGE",
    ]


def steps(name: str, scale: Scale) -> Spread:
    """Return the ns of one step in Python."""
    rate = make_rate(name, QUOTA, SECOND)
    step = ALGORITHMS[name].step
    state, now = None, 1_700_000_000 * SECOND

    def go(count: int) -> float:
        nonlocal state, now
        start = time.process_time_ns()
        for _ in range(count):
            state, _ = step(state, rate, 1, now, BINDING)
            now += 1000
        return (time.process_time_ns() - start) / count

    go(2 * QUOTA)
    return spread(go(scale.steps) for _ in range(scale.repeats))


def plans(name: str, keys: int, *, shared: bool) -> Iterator[Plan]:
    """Plan the requests of as many users, each with its own counter, as the service does."""
    planner = Planner(
        parse([("bench", policy(algorithm=name).encode())]),
        key_maker(b"", safe=not shared),
        Tallies(),
        PlanOptions(),
    )
    key = KEYS[0].encode()
    for number in range(keys):
        descriptor = Descriptor(((key, user(number).encode()),))
        yield planner.plan(LimitRequest(DOMAIN.encode(), (descriptor,)))


async def charges(name: str, scale: Scale, address: str, pid: int) -> dict[str, Any]:
    """Return µs per charge by batch size, as wall time and as CPU of redis-server, and the bytes per key in Redis."""
    host, _, port = address.rpartition(":")
    redis = RedisStore(RedisOptions(ConnectOptions(Deployment((RedisAddress(host, int(port)),))), budget=60.0))
    if not await redis.connect():
        raise BenchError(f"Redis at {address} cannot be reached")
    planned = [*plans(name, STORED, shared=True)]
    wall: dict[int, list[float]] = {size: [] for size in BATCHES}
    cpu: dict[int, list[float]] = {size: [] for size in BATCHES}
    try:
        with client.Redis.from_url(f"redis://{address}") as look:
            look.flushall()
            await _charge(redis, planned, 128, STORED)
            size = sum(look.memory_usage(key, samples=0) or 0 for key in look.scan_iter(count=1000)) / STORED
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
    """Make ``count`` charges, one batch per script call, one call at a time."""
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
    """Return bytes per key in memory, including the key: as the store counts, and as tracemalloc traces."""
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
