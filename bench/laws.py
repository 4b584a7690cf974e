"""The limits under test: their policy, the bounds of what they may admit, and the slots of their counters."""

from collections.abc import Mapping
from typing import Final

from bench.bounds import Law
from bench.fleet import SIZE
from bench.policy import DOMAIN
from bench.spending import RULES
from ratelimitd.algorithms import counter_key
from ratelimitd.limiter import LimitRequest, Planner, PlanOptions, Tallies, key_maker
from ratelimitd.policy import Descriptor
from ratelimitd.policy_file import parse
from testkit.redis_cluster import RedisCluster

LIMIT: Final = 50
"""Requests per second: each phase admits many calls, and a load of many times the limit is still light."""

LAWS: Final[Mapping[str, Law]] = {
    **{name: Law(name, LIMIT, 1.0, LIMIT) for name in ("token_bucket", "sliding_window", "fixed_window")},
    "local": Law("token_bucket", 1200, 60.0, 40),
}
"""By descriptor key. ``local`` refills slowly, so that the loss of a process's local count would be visible."""

SHARE: Final = Law("token_bucket", 1200 // SIZE, 60.0, 40 // SIZE)
"""The share of one process in ``local``: max(1, limit / REPLICAS), and the same part of the burst."""


def policy(note: str = "") -> str:
    """Return a policy with each limit, those of ``spending``, and the descriptor key ``note``, which no call uses."""
    lines = [f"domain: {DOMAIN}", "descriptors:"]
    for name, law in LAWS.items():
        unit = "second" if law.window == 1.0 else "minute"
        burst = f", burst: {law.burst}" if law.burst != law.quota else ""
        own = ", on_store_failure: local" if name == "local" else ""
        rate = f"{{unit: {unit}, requests_per_unit: {law.quota}, algorithm: {law.algorithm}{burst}}}"
        lines.append(f"  - {{key: {name}{own}, rate_limit: {rate}}}")
    return "\n".join([*lines, RULES, *([f"  - {{key: {note}}}"] if note else [])]) + "\n"


def counter_slot(key: str, value: str, text: str = "") -> int:
    """Return the slot of the counter of a descriptor; the counter's name must not depend on the time."""
    planner = Planner(
        parse([("bench", (text or policy()).encode())]), key_maker(b"", safe=False), Tallies(), PlanOptions()
    )
    plan = planner.plan(LimitRequest(DOMAIN.encode(), (Descriptor(((key.encode(), value.encode()),)),)))
    charge = plan.charges[0]
    rate = charge.limit.rate
    if rate is None:
        raise ValueError(f"{key} has no counter")
    return RedisCluster.slot(counter_key(charge.key, rate, 0))
