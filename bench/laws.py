"""The limits that are watched: as a policy, as what they may admit, and where their counters are."""

from collections.abc import Mapping
from typing import Final

from bench.bounds import Law
from bench.fleet import SIZE
from bench.policy import DOMAIN
from ratelimitd.algorithms import counter_key
from ratelimitd.limiter import Planner, PlanOptions, Request, Tallies, key_maker
from ratelimitd.policy import Descriptor, parse
from testkit.redis_cluster import RedisCluster

LIMIT: Final = 50
"""A second: tens of calls are admitted in each phase, and a load of many times as much is a light one."""

LAWS: Final[Mapping[str, Law]] = {
    **{name: Law(name, LIMIT, 1.0, LIMIT) for name in ("token_bucket", "sliding_window", "fixed_window")},
    "local": Law("token_bucket", 1200, 60.0, 40),
}
"""By the key of the descriptor. ``local`` refills slowly, so that a process that forgot its own count would show."""

SHARE: Final = Law("token_bucket", 1200 // SIZE, 60.0, 40 // SIZE)
"""What a process has of ``local`` by itself: max(1, limit / REPLICAS), and so of the burst."""


def policy(note: str = "") -> str:
    """Return a policy with each law, and with ``note``, which no call asks for."""
    lines = [f"domain: {DOMAIN}", "descriptors:"]
    for name, law in LAWS.items():
        unit = "second" if law.window == 1.0 else "minute"
        burst = f", burst: {law.burst}" if law.burst != law.quota else ""
        own = ", on_store_failure: local" if name == "local" else ""
        rate = f"{{unit: {unit}, requests_per_unit: {law.quota}, algorithm: {law.algorithm}{burst}}}"
        lines.append(f"  - {{key: {name}{own}, rate_limit: {rate}}}")
    return "\n".join([*lines, *([f"  - {{key: {note}}}"] if note else [])]) + "\n"


def counter_slot(key: str, value: str, text: str = "") -> int:
    """Return the slot of the counter that this value of this descriptor has, of a limit that has one for all time."""
    planner = Planner(
        parse([("bench", (text or policy()).encode())]), key_maker(b"", safe=False), Tallies(), PlanOptions()
    )
    plan = planner.plan(Request(DOMAIN.encode(), (Descriptor(((key.encode(), value.encode()),)),)))
    limit, name, _ = plan.charges[0]
    if limit.rate is None:
        raise ValueError(f"{key} has no counter")
    return RedisCluster.slot(counter_key(name, limit.rate, 0))
