"""What is watched during a soak: memory, open files, the event loop; the bounds, and the picture."""

import asyncio
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import aiohttp

from ratelimitd.app.engine import FALLBACK_BYTES
from ratelimitd.limiter.new_keys import TABLE_SIZE
from testkit.machine import rss_bytes

CACHE_BYTES: Final = 1 << 20
SERIES: Final = 100
IN_FLIGHT: Final = 2_000
POOL: Final = 4
CONNECTIONS: Final = 8
"""Of the load: one a worker."""

SETTINGS: Final = {
    "LOCAL_CACHE_SIZE_IN_BYTES": str(CACHE_BYTES),
    "REQUEST_MADE_SERIES": str(SERIES),
    "STORE_IN_FLIGHT": str(IN_FLIGHT),
    "REDIS_POOL_SIZE": str(POOL),
    "NEW_KEYS_PER_SECOND": "2000",
}
"""Small caps, so that a soak reaches them."""

IN_FLIGHT_BYTES: Final = 2_000
"""A charge under way, with its share of ask, call and bytes to be sent: some 1,100 measured, and a reserve."""

SEEN_BYTES: Final = TABLE_SIZE
"""Keys that were asked for lately: a byte for each place, touched as keys come."""

SLACK: Final = 1.25
"""What malloc and Python keep of memory that was given back."""

SAMPLE_SECONDS: Final = 0.5

LAG_BOUND: Final = 0.5
"""Seconds the event loop may be late: that it turns at all, on a machine whose cores others want too. What holds it is
measured by ``python -m bench loop``."""


@dataclass
class Sample:
    """One look.

    Attributes:
        at: seconds since the start.
        rss: bytes. files: open ones. lag: seconds, the longest of the last half minute. in_flight: charges.
    """

    at: float
    rss: int
    files: int
    lag: float = 0.0
    in_flight: float = 0.0


@dataclass
class Watch:
    """Looks at a process twice a second."""

    pid: int
    http: str
    began: float
    samples: list[Sample] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    missed: int = 0

    async def run(self):
        """Look until cancelled."""
        async with aiohttp.ClientSession(f"http://{self.http}", timeout=aiohttp.ClientTimeout(5)) as session:
            while True:
                await self.look(session)
                await asyncio.sleep(SAMPLE_SECONDS)

    async def look(self, session):
        """Take a sample; a scrape that fails is counted, since metrics never depend on Redis."""
        sample = Sample(time.monotonic() - self.began, rss_bytes(self.pid), files_of(self.pid))
        try:
            async with session.get("/metrics") as answer:
                self.metrics = parsed(await answer.text())
        except (aiohttp.ClientError, TimeoutError):
            self.missed += 1
        sample.lag = self.metrics.get("ratelimitd_loop_lag_longest_seconds", 0.0)
        sample.in_flight = self.metrics.get("ratelimitd_redis_in_flight", 0.0)
        self.samples.append(sample)


def parsed(text):
    """Return the values of a scrape by name and labels."""
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def files_of(pid):
    """Return how many files a process has open."""
    return len([*Path(f"/proc/{pid}/fd").iterdir()])


def rss_bound(start):
    """Return the most bytes that the caps allow a process which had ``start`` when it was idle."""
    caps = CACHE_BYTES + FALLBACK_BYTES + SEEN_BYTES + IN_FLIGHT * IN_FLIGHT_BYTES
    return start + int(caps * SLACK)


def files_bound(start):
    """Return the most open files: the load's connections, the pool's, and a few for scrapes, policies and lookups."""
    return start + CONNECTIONS + POOL + 20


def save(folder, verdict, samples, slowest):
    """Write the verdict as JSON, and a picture of the run where matplotlib is installed."""
    folder.mkdir(parents=True, exist_ok=True)
    said = {**verdict, "samples": [asdict(sample) for sample in samples]}
    folder.joinpath("soak.json").write_text(json.dumps(said, indent=1) + "\n")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(10, 8), layout="constrained")
    rows = figure.subplots(3, 1, sharex=True)
    at = [sample.at for sample in samples]
    rows[0].plot(at, [sample.rss / 1e6 for sample in samples])
    rows[0].axhline(verdict["rss bound"] / 1e6, linestyle="--", color="tab:red")
    rows[0].set_ylabel("RSS, MB")
    rows[1].plot(at, [sample.files for sample in samples], label="open files")
    rows[1].plot(at, [sample.in_flight / 100 for sample in samples], label="charges in flight / 100")
    rows[1].legend()
    rows[2].plot([tenth / 10 for tenth in sorted(slowest)], [slowest[t] * 1e3 for t in sorted(slowest)], lw=0.5)
    rows[2].set_yscale("log")
    rows[2].set_ylabel("slowest call, ms")
    rows[2].set_xlabel("seconds")
    figure.savefig(folder / "soak.png", dpi=100)
