"""The pages of metrics: that of the HTTP port, and that of PROMETHEUS_ADDR, whose names a file may map."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple

from ratelimitd.config.problems import PolicyErrors
from ratelimitd.net.files import read_regular, reason
from ratelimitd.observe.logs import get_logger
from ratelimitd.observe.loop import LoopLag
from ratelimitd.observe.metrics import Counters, Family, Histogram, by_label
from ratelimitd.settings import Settings, StatsSink

from .engine import Parts
from .exposition import Scrape, Upstreams, exposition, upstream_families
from .policies import Policies
from .upstreams import stats

if TYPE_CHECKING:
    from ratelimitd.mapper import Exposed

log = get_logger(__name__)

MAPPER_BYTES: Final = 1 << 20
"""Maximum size of a mapping file: a hundred times that of Envoy Gateway."""

TIMES: Final = "ratelimit_service_response_time_seconds"


class Scrapes(NamedTuple):
    """The functions that render metrics.

    Attributes:
        page: for /metrics of the HTTP port, and of a proxy.
        sink: for PROMETHEUS_ADDR.
    """

    page: Scrape
    sink: Scrape


def scrapes(settings: Settings, parts: Parts, policies: Policies, lag: LoopLag, more: Iterable[Family]) -> Scrapes:
    """Return what renders the metrics; the mapping file is read here, once."""
    families = list(more)
    page = exposition(parts, policies, lag, families)
    upstreams = _upstreams(settings, parts)
    return Scrapes(page, page if upstreams is None else exposition(parts, policies, lag, families, upstreams))


def _upstreams(settings: Settings, parts: Parts) -> Upstreams | None:
    """Return upstream's metrics where PROMETHEUS_ADDR has others than /metrics."""
    if settings.sink is not StatsSink.PROMETHEUS:
        return None
    counters = parts.counters
    if settings.prometheus_mapper_yaml:
        exposed = _exposed(settings.prometheus_mapper_yaml)
        if exposed is not None:
            counters.times = {}
            return Upstreams((), lambda: exposed.chunks(parts.tallies, stats(parts), counters.times or {}))
    elif settings.prometheus_response_time_as_milliseconds:
        counters.times = {}
        families = upstream_families(parts)
        return Upstreams([_in_milliseconds(counters) if each.name == TIMES else each for each in families], None)
    return None


def _exposed(path: str) -> "Exposed | None":
    """Read the mapping file. One that cannot be used is no reason not to serve, as there; its errors are logged."""
    from ratelimitd.mapper import Exposed, Matcher, read_mapper  # noqa: PLC0415 -- YAML and RE2, which few need

    note = "names and labels are those without a mapping file"
    try:
        file = read_mapper(path, read_regular(path, MAPPER_BYTES))
    except OSError as error:
        log.error("PROMETHEUS_MAPPER_YAML cannot be read", file=path, reason=reason(error), note=note)  # noqa: TRY400
        return None
    except PolicyErrors as errors:
        log.error("PROMETHEUS_MAPPER_YAML is rejected", errors=len(errors.errors), note=note)  # noqa: TRY400
        for each in errors.errors:
            log.error(str(each))  # noqa: TRY400 -- its text is all a reader needs
        return None
    log.info("metrics are mapped", file=path, mappings=len(file.mappings))
    return Exposed(Matcher(file))


def _in_milliseconds(counters: Counters) -> Family:
    """Return the response times as envoyproxy/ratelimit had them before: whole milliseconds, under the same name."""

    def read() -> Iterable[tuple[str, Histogram]]:
        for method, calls in (counters.times or {}).items():
            histogram = Histogram()
            for millis, count in calls.items():
                histogram.observe(millis, count)
            yield method, histogram

    return by_label(TIMES, "histogram", "Time to answer a call in whole milliseconds.", "grpc_method", read)
