"""Which metrics the service and the proxy expose: asked of what makes their scrapes, not of a list."""

from typing import Final, NamedTuple

from ratelimitd.app import exposition
from ratelimitd.app.connections import connection_families
from ratelimitd.app.control_plane import plane_of
from ratelimitd.app.engine import build
from ratelimitd.app.gateway_metrics import gateway_families
from ratelimitd.app.named_limits import NamedLimits
from ratelimitd.app.policies import Policies, source_of
from ratelimitd.app.refusals import HttpRefusals, Refusals
from ratelimitd.gateway import Queueing
from ratelimitd.gateway.access_log import RequestMetrics
from ratelimitd.observe.loop import LoopLag
from ratelimitd.observe.metrics import LATER_COUNTERS, LIMIT_COUNTERS, LIMIT_PREFIX, RESERVE_AMOUNT
from ratelimitd.settings import load
from ratelimitd.sources import Pushed
from ratelimitd.statsd import DatagramSink, Reporter
from ratelimitd.statsd import statsd as writer

LEVELS: Final = 8
"""Of a policy; a limit has a label for each."""


class Metric(NamedTuple):
    """What a query may say of a series: its kind, and its labels but those that Prometheus adds."""

    kind: str
    labels: frozenset[str]


def exposed(monkeypatch):
    """Every name that a scrape of a service with Redis and a gateway may hold. Needs a running event loop."""
    monkeypatch.setattr(exposition, "render", lambda _, families, blocking, __: [*families, *blocking()])
    settings = load({"REDIS_URL": "localhost:1", "POLICY_OVERLAY": "nowhere"}, {})
    parts = build(settings)
    policies = Policies(source_of(settings, ("nowhere",)), settings, parts)
    gateway = gateway_families(RequestMetrics(), {}, Queueing(parts.engine))
    refused = [Refusals(settings.grpc_client_tls_san).family(), HttpRefusals().family()]
    measured = NamedLimits(parts, policies).families() + statsd(parts).families()
    more = [*gateway, *refused, *connection_families({}), *plane_of(Pushed("c:1")).families(), *measured]
    families = exposition.exposition(parts, policies, LoopLag(), more)()

    found = {LIMIT_PREFIX + counter: Metric("counter", _of_limits()) for counter in LIMIT_COUNTERS}
    found |= {f"ratelimitd_{counter}_total": Metric("counter", _of_limits()) for counter in LATER_COUNTERS}
    found[f"ratelimitd_{RESERVE_AMOUNT}"] = Metric("gauge", _of_limits())
    for family in families:
        found |= _of(family)
    return found


def statsd(parts):
    return Reporter(DatagramSink(), writer(()), parts.tallies, parts.counters, tuple, 1.0)


def _of_limits():
    return frozenset({"domain", "limit", *(f"key{depth}" for depth in range(1, LEVELS + 1))})


def _of(family):
    labels = frozenset(family.labels)
    if family.kind != "histogram":
        return {family.name: Metric(family.kind, labels)}
    parts = {"_bucket": labels | {"le"}, "_sum": labels, "_count": labels}
    return {family.name + part: Metric("counter", also) for part, also in parts.items()}
