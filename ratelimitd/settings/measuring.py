"""Rows of the table: statsd and DogStatsD, and what Prometheus reads in their place."""

import re
from typing import Final

from ratelimitd.config.values import (
    PORT_MAX,
    boolean,
    choice,
    integer,
    pairs,
    positive_duration,
    text,
    words,
)
from ratelimitd.settings.rows import Row, RowStatus

LINK: Final = re.compile(r"(tcp|udp|sctp)://\S+", re.ASCII)
"""Value that Kubernetes gives STATSD_PORT in every pod beside a Service named statsd."""

UNIX: Final = "unix://"
"""Begins the path of a unix socket, as in Datadog's own clients."""


_port: Final = integer(1, PORT_MAX)


def _port_or_link(value: str) -> int | None:
    """Parse a port; None for a service link of Kubernetes, which is an error only where the port is used."""
    return None if LINK.fullmatch(value) else _port(value)


def _mogrifier(part: str, doc: str) -> Row[str]:
    return Row(text, "", doc, name=f"DOG_STATSD_MOGRIFIER_<NAME>_{part}", status=RowStatus.NAMED)


class MeasuringRows:
    """Rows of metrics that are sent, and of a mapping of their names."""

    use_statsd = Row(
        boolean,
        "true",
        "Send metrics to statsd. The default is envoyproxy/ratelimit's, and applies once STATSD_HOST, STATSD_PORT, "
        "STATSD_PROTOCOL, EXTRA_TAGS or USE_DOG_STATSD is set, without USE_PROMETHEUS=true; otherwise nothing is sent "
        "unless this is set.",
    )
    statsd_host = Row(
        text, "localhost", "Host of statsd; with USE_DOG_STATSD also unix:///PATH, the socket of Datadog's agent."
    )
    statsd_port = Row(_port_or_link, "8125", "Port of statsd.")
    statsd_protocol = Row(choice("tcp", "udp"), "tcp", "tcp or udp; DogStatsD has UDP or a unix socket.")
    extra_tags = Row(
        pairs,
        "",
        "Tags of each metric that is sent, as KEY:VALUE,KEY:VALUE. statsd: NAME.__KEY=VALUE; DogStatsD: tags.",
    )
    stats_flush_interval = Row(
        positive_duration,
        "10s",
        "Time between two flushes to statsd. Prometheus reads the counters as they are.",
    )
    use_dog_statsd = Row(
        boolean, "false", "Send metrics in DogStatsD's form instead; USE_STATSD=false has to be set with it."
    )
    use_dog_statsd_mogrifiers = Row(
        words, "", "Names of rules that make names and tags of what is sent to DogStatsD, in the order they are tried."
    )
    prometheus_mapper_yaml = Row(
        text,
        "",
        "File of mappings, as statsd_exporter has them, from statsd names to those at PROMETHEUS_ADDR; see metrics.md. "
        "/metrics of the HTTP port is not mapped.",
    )
    prometheus_response_time_as_milliseconds = Row(
        boolean,
        "false",
        "Without a mapping file: response times at PROMETHEUS_ADDR in whole milliseconds, although their name says "
        "seconds.",
    )


MOGRIFIERS: Final[tuple[Row[str], ...]] = (
    _mogrifier("PATTERN", "Regular expression (RE2) that a metric's name without tags has to contain."),
    _mogrifier("NAME", "Name in its place; $1 is what the first group of the pattern found, $0 all of it."),
    _mogrifier("TAGS", "Tags, as KEY:VALUE,KEY:VALUE; values may contain $0, $1 … too."),
)
