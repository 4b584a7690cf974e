"""The sink of metrics that the settings choose, and what is said of it at the start."""

from contextlib import AsyncExitStack

from ratelimitd.observe.logs import get_logger
from ratelimitd.settings import UNIX, Settings, StatsSink
from ratelimitd.statsd import DatagramSink, Reporter, Sink, TcpSink, Write, dog_statsd, statsd

from .engine import Parts
from .life import StartError
from .upstreams import stats

log = get_logger(__name__)


def reporters(
    settings: Settings, parts: Parts, stack: AsyncExitStack, *, with_service: bool = True
) -> tuple[Reporter, ...]:
    """Return what sends metrics to statsd or DogStatsD: one or none. Raises StartError for a wrong pattern.

    It sends the last differences when the stack unwinds. A service says what sends metrics if nothing does, since
    envoyproxy/ratelimit's defaults would.
    """
    sink = settings.sink
    if sink in (StatsSink.STATSD, StatsSink.DOG_STATSD):
        where, interval = _sink(settings), settings.stats_flush_interval
        made = Reporter(where, _write(settings), parts.tallies, parts.counters, lambda: stats(parts), interval)
        stack.push_async_callback(made.close)
        log.info("metrics are sent", to=str(sink), address=where.where, interval=interval)
        return (made,)
    chosen = sink is not StatsSink.NONE or settings.disable_stats or Settings.use_statsd.name in settings.given
    if with_service and not chosen:
        log.info("metrics are not sent to statsd; USE_STATSD=true sends them", note="/metrics of PORT has all of them")
    return ()


def _sink(settings: Settings) -> Sink:
    host, port = settings.statsd_host, settings.statsd_port or 0
    if host.startswith(UNIX):
        return DatagramSink(path=host.removeprefix(UNIX))
    if settings.sink is StatsSink.DOG_STATSD or settings.statsd_protocol == "udp":
        return DatagramSink(host, port)
    return TcpSink(host, port)


def _write(settings: Settings) -> Write:
    if settings.sink is StatsSink.STATSD:
        return statsd(settings.extra_tags)
    if not settings.mogrifiers:
        return dog_statsd(settings.extra_tags, lambda name: (name, ()))
    from ratelimitd.statsd.mogrify import MogrifierError, renamer  # noqa: PLC0415 -- re2, needed only for rules

    try:
        return dog_statsd(settings.extra_tags, renamer(settings.mogrifiers))
    except MogrifierError as error:
        raise StartError(f"USE_DOG_STATSD_MOGRIFIERS: {error}") from None
