"""``make soak``: the service under load for minutes while everything around it goes wrong; a verdict and a picture.

Redis is behind a proxy that fails, is killed, stopped and filled; the policy is rewritten, well and badly; signals
come; a million keys are asked for that nobody used before. Whatever happens each call is answered, memory and open
files stay within bounds worked out beforehand, the event loop turns, and at the end all is as it was at the start.
"""

import argparse
import asyncio
import os
import random
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import aiohttp
import grpc.aio

from ratelimitd import __build__
from testkit.builds import problem
from testkit.fault_proxy import fault_proxy
from testkit.machine import cores, rss_bytes
from testkit.redis_server import redis_server
from testkit.server import METHOD, service

from .faults import MEMORY, World, go_wrong
from .load import POLICY, RESPONSE, Seen, request, work
from .watch import CONNECTIONS, LAG_BOUND, SETTINGS, Watch, files_bound, files_of, parsed, rss_bound, save

OUT: Final = Path("build/soak")
RECOVERY: Final = 10.0
"""Seconds after the last fault for everything to be well again; a second is usual, the rest is for a busy machine."""

UNIQUE_RATE: Final = 4_200
"""Keys a second that were never used, at most: a million and some in five minutes."""


def main():
    """Run, print the verdict, and say by the exit code whether all is well."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--seconds", type=float, default=300.0)
    options.add_argument("--seed", type=int, default=int(time.time()))
    chosen = options.parse_args()
    if error := problem(__build__):
        options.error(error)
    print(f"a soak of {chosen.seconds:g} s, --seed {chosen.seed}", flush=True)
    verdict = asyncio.run(soak(chosen.seconds, chosen.seed))
    for name, value in verdict.items():
        print(f"{name}: {value}")
    return 1 if verdict["broken"] else 0


async def soak(seconds, seed):
    """Run for so long and return what was seen; ``broken`` names each promise that did not hold."""
    with ExitStack() as stack:
        options = ("--maxmemory", MEMORY, "--maxmemory-policy", "volatile-ttl")
        redis = stack.enter_context(redis_server(*options, tcp=True))
        proxy = stack.enter_context(fault_proxy(redis.address))
        env = {"REDIS_URL": proxy.address, **SETTINGS}
        running = stack.enter_context(service("nghttp2", POLICY.format(limit=100), cores().server, env))
        start = rss_bytes(running.pid), files_of(running.pid)
        world = World(
            redis,
            proxy,
            running.log.with_name("policy.yaml"),
            lambda number: os.kill(running.pid, number),
            random.Random(seed),
        )
        seen = Seen(time.monotonic())
        watch = Watch(running.pid, running.http, seen.began)
        await under_load(world, running, seen, watch, seconds)
        proxy.heal()
        world.policy.write_text(POLICY.format(limit=100))
        recovered = await recovery(running, seen)
        settled = await settlements(running)
        verdict = judged(seen, watch, world, start, recovered, settled, running.log.read_text())
        save(OUT, verdict, watch.samples, seen.took)
        return verdict


async def under_load(world, running, seen, watch, seconds):
    """Load, faults and looks side by side until the time is up."""
    async with asyncio.TaskGroup() as group:
        pause = CONNECTIONS * 8 / UNIQUE_RATE
        beside = [group.create_task(work(running.address, seen, n, pause)) for n in range(CONNECTIONS)]
        beside.append(group.create_task(watch.run()))
        await go_wrong(world, lambda: time.monotonic() - seen.began > seconds)
        for task in beside:
            task.cancel()


async def recovery(running, seen):
    """Return how many seconds after the end of all faults Redis decided again; infinite when it did not."""
    began = time.monotonic()
    async with grpc.aio.insecure_channel(running.address) as channel:
        call = channel.unary_unary(METHOD)
        while time.monotonic() - began < RECOVERY:
            body, *_ = request(CONNECTIONS, 1)  # a key whose limit says error: only Redis can decide it
            try:
                RESPONSE.FromString(await call(body, timeout=5))
            except grpc.aio.AioRpcError as error:
                seen.note(error.code(), str(error.details()), time.monotonic() - began)
            else:
                return time.monotonic() - began
            await asyncio.sleep(0.01)
    return float("inf")


async def settlements(running):
    """Wait until no report waits for Redis; return how many were recorded, and how many counted as lost."""
    until = time.monotonic() + RECOVERY
    async with aiohttp.ClientSession(f"http://{running.http}") as session:
        while True:
            async with session.get("/metrics") as answer:
                found = parsed(await answer.text())
            if not found["ratelimitd_settlements_waiting"] or time.monotonic() > until:
                recorded = sum(found[name] for name in found if name.startswith("ratelimitd_settlements_total{"))
                return int(recorded), int(found["ratelimitd_settlements_lost_total"])
            await asyncio.sleep(0.1)


def judged(seen, watch, world, start, recovered, settled, log):
    """Hold what was seen against what was promised."""
    most_rss = max(sample.rss for sample in watch.samples)
    most_lag = max(sample.lag for sample in watch.samples)
    most_files = max(sample.files for sample in watch.samples)
    faults = {
        line for line in log.splitlines() if "Traceback" in line or "unhandled error" in line or "exception" in line
    }
    promises = {
        "every call is answered as promised": not seen.odd,
        "memory stays within its bound": most_rss <= rss_bound(start[0]),
        "open files stay within their bound": most_files <= files_bound(start[1]),
        "the event loop turns": most_lag < LAG_BOUND,
        "every scrape is answered": watch.missed == 0,
        "Redis decides again after the last fault": recovered < RECOVERY,
        "each report is recorded or counted as lost": seen.reported <= sum(settled) <= seen.reported + CONNECTIONS,
        "reports were made and recorded": settled[0] > 0,
        "each fault happened": len(world.happened) > 0 and sum(world.proxy.counts.values()) > 0,
        "calls were made and some failed by policy": seen.codes["OK"] > 0 and seen.codes["UNAVAILABLE"] > 0,
        "nothing unforeseen is in the log": not faults,
    }
    return {
        "calls": seen.calls,
        "by status": dict(seen.codes),
        "unique keys": seen.unique,
        "reports, recorded, lost": [seen.reported, *settled],
        "odd": dict(seen.odd.most_common(10)),
        "faults": dict(world.happened),
        "rss at the start": start[0],
        "most rss": most_rss,
        "rss bound": rss_bound(start[0]),
        "most open files": most_files,
        "files bound": files_bound(start[1]),
        "longest loop lag, ms": round(most_lag * 1e3, 1),
        "longest call, ms": round(max(seen.took.values()) * 1e3, 1),
        "recovered after, s": round(recovered, 3),
        "redis": {name: value for name, value in watch.metrics.items() if name.startswith("ratelimitd_redis_")
                  and "bucket" not in name},
        "log": sorted(faults)[:10],
        "broken": [promise for promise, kept in promises.items() if not kept],
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
