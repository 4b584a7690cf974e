"""envoyproxy/ratelimit's names of metrics in statsd, and the numbers behind them."""

from collections.abc import Iterable, Iterator
from typing import Final, Literal, NamedTuple

from ratelimitd.observe.metrics import Counters, LimitTally
from ratelimitd.printable import printable

SERVICE: Final = "ratelimit.service."
LIMIT: Final = "ratelimit.service.rate_limit."
SERVER: Final = "ratelimit_server."

COUNTER, GAUGE, TIMER = b"|c", b"|g", b"|ms"
"""Types on the wire."""


class Stat(NamedTuple):
    """One metric beside those of limits.

    Attributes:
        value: the sum so far of a counter, the state of a gauge.
    """

    name: str
    kind: Literal["counter", "gauge"]
    value: int


def limit_name(tally: LimitTally) -> str:
    """Return the name of a limit's metrics, without the counter; of several limits of a descriptor with their names."""
    item = f".limit_{tally.item}" if tally.item else ""
    return printable(f"{LIMIT}{'.'.join(tally.stat_key)}{item}")


def service_stats(counters: Counters, unknown_domains: Iterable[tuple[str, int]]) -> Iterator[Stat]:
    """Yield the counters that do not belong to a limit."""
    for name in ("redis_error", "service_error"):
        yield Stat(f"{SERVICE}call.should_rate_limit.{name}", "counter", getattr(counters, name))
    for name in ("config_load_success", "config_load_error", "global_shadow_mode"):
        yield Stat(f"{SERVICE}{name}", "counter", getattr(counters, name))
    for method, calls in list(counters.total_requests.items()):  # the loop turns while a caller takes them
        yield Stat(f"{SERVER}{method}.total_requests", "counter", calls)
    for domain, descriptors in unknown_domains:
        yield Stat(f"{LIMIT}{printable(domain)}.domain_not_found", "counter", descriptors)


def time_name(method: str) -> str:
    """Return the name of a method's response times."""
    return f"{SERVER}{method}.response_time"
