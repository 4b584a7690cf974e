"""Parsers of scalar values. A parser raises ValueError with what is wrong and what to write instead."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv6Address, IPv6Network, ip_network
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from .control_characters import control_in_name

# Go's strconv.ParseBool, and therefore envoyproxy/ratelimit, accepts exactly these.
_BOOLS: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}

# The units of Go's time.ParseDuration, in seconds.
_DURATION_UNITS: Final[Mapping[str, float]] = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,  # U+00B5, the micro sign
    "μs": 1e-6,  # U+03BC, the Greek letter; Go accepts both
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_DURATION_PART: Final = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_NUMBER: Final = re.compile(r"\d+\.?\d*|\.\d+", re.ASCII)
DURATION_MAX: Final = 9_223_372_036.0
"""Seconds: 292 years, the longest duration in Go."""

_SIZE: Final = re.compile(r"(\d+)\s*(|b|[kmg]i?b?)", re.ASCII | re.IGNORECASE)
_SIZE_POWERS: Final[Mapping[str, int]] = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30}

_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
PORT_MAX: Final = 65_535
UINT32_MAX: Final = (1 << 32) - 1

_SCHEMES: Final[Mapping[str, int]] = {"http": 80, "https": 443}
_ORIGIN: Final = "not a URL of scheme, host and port, such as http://localhost:8000; requests keep their own path"

_UNITS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("s", "sec", "second"), "second"),
    **dict.fromkeys(("m", "min", "minute"), "minute"),
    **dict.fromkeys(("h", "hour"), "hour"),
    **dict.fromkeys(("d", "day"), "day"),
    **{name: name for name in ("week", "month", "year")},
}

_HOST_NAME: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.ASCII)
_BRACKETED: Final = re.compile(r"\[([^\]]*)\](?::([^:]*))?")
_VISIBLE: Final = re.compile(r"[!-~]+", re.ASCII)
BEARER_LEAST: Final = 16
"""Minimum length of a token: 16 hexadecimal digits are 64 bits, thousands of years at a million guesses per second."""
MAPPED_BITS: Final = 96
"""Bits before the IPv4 address in its form of IPv6 (RFC 4291 2.5.5.2)."""

EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 -- upstream's default too: Envoy calls from other hosts


def any_text(value: str) -> str:
    """Return any text, including an empty one."""
    return value


def text(value: str) -> str:
    """Return a text without control characters, which may be empty."""
    if remedy := control_in_name(value):
        raise ValueError(f"contains a control character; {remedy}")
    return value


def boolean(value: str) -> bool:
    """Parse a bool as Go does: true, false, 1, 0, t, f and their capitalized forms."""
    if value not in _BOOLS:
        raise ValueError("not a bool; write true or false")
    return _BOOLS[value]


def integer(least: int, most: int = (1 << 63) - 1) -> Callable[[str], int]:
    """Make a parser of whole numbers from ``least`` to ``most``."""

    def parse(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            number = None
        if number is None or "_" in value:
            raise ValueError("not a whole number")
        if not least <= number <= most:
            raise ValueError(f"must be from {least} to {most}")
        return number

    return parse


port_number: Final = integer(0, PORT_MAX)
"""A TCP port; 0 means a free one."""


def ratio(value: str) -> float:
    """Parse a number from 0 to 1."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise ValueError("not a number from 0 to 1; write 0.8, for example")
    return number


def duration(value: str) -> float:
    """Parse a Go duration (``150us``, ``1h30m``, ``24h``) or a plain number of seconds; returns seconds."""
    seconds, end = 0.0, 0
    if _NUMBER.fullmatch(value):
        seconds, end = float(value), len(value)
    while part := _DURATION_PART.match(value, end):
        seconds += float(part[1]) * _DURATION_UNITS[part[2]]
        end = part.end()
    if not value or end != len(value):
        raise ValueError("not a duration; write one like 150us, 5s, 1h30m, or a number of seconds")
    if seconds > DURATION_MAX:
        raise ValueError(f"longer than {DURATION_MAX:.0f} seconds")
    return round(seconds, 9)


def positive_duration(value: str) -> float:
    """Parse a duration greater than 0."""
    seconds = duration(value)
    if seconds <= 0:
        raise ValueError("must be greater than 0")
    return seconds


def size(least: int, most: float = math.inf) -> Callable[[str], int]:
    """Make a parser of sizes in bytes: ``1048576``, ``256MiB``, ``256m``, ``1g``; units are powers of 1024."""

    def parse(value: str) -> int:
        found = _SIZE.fullmatch(value)
        if not found:
            raise ValueError("not a size; write bytes, or one like 512KiB, 256MiB, 1g")
        number = int(found[1]) << _SIZE_POWERS[found[2][:1].lower()]
        if number < least:
            raise ValueError(f"must be at least {least} bytes")
        if number > most:
            raise ValueError(f"must be at most {most} bytes")
        return number

    return parse


def words(value: str) -> tuple[str, ...]:
    """Parse names, separated by commas; empty: none."""
    return tuple(text(each.strip()) for each in value.split(",")) if value.strip() else ()


def pairs(value: str) -> tuple[tuple[str, str], ...]:
    """Parse ``key:value`` pairs, separated by commas, as a map of Go's envconfig; the last of equal keys applies."""
    found: dict[str, str] = {}
    for each in value.split(",") if value.strip() else ():
        key, colon, rest = each.partition(":")
        if not colon:
            raise ValueError(f"{each!r} is no pair; write key:value,key2:value2")
        found[text(key)] = text(rest)
    return tuple(found.items())


class Choice:
    """A parser of one name out of several, case-insensitive.

    Attributes:
        names: the names, as they are written in the table.
        unbuilt: values of envoyproxy/ratelimit that are not implemented yet, each with what to do instead.
    """

    def __init__(self, allowed: Sequence[str], unbuilt: Mapping[str, str]) -> None:
        self.names = tuple(allowed)
        self.unbuilt = unbuilt
        self._names = {name.lower(): name for name in allowed}
        self._refused = {name.lower(): why for name, why in unbuilt.items()}

    def __call__(self, value: str) -> str:
        """Return the name as it is written in the table. Raises ValueError for any other."""
        if value.lower() in self._refused:
            raise ValueError(f"not implemented yet; {self._refused[value.lower()]}")
        if value.lower() not in self._names:
            raise ValueError("unknown value; write " + " or ".join(name or "nothing" for name in self._names.values()))
        return self._names[value.lower()]


def choice(*allowed: str, unbuilt: Mapping[str, str] | None = None) -> Choice:
    """Make a parser of one name in ``allowed``."""
    return Choice(allowed, unbuilt or {})


def address(value: str) -> str:
    """Parse an address to listen on; empty means every IPv4 interface, as does the default."""
    bare = value.removeprefix("[").removesuffix("]")
    if any(character.isspace() or character == "/" for character in bare):
        raise ValueError("not an address; write 0.0.0.0, 127.0.0.1 or ::")
    return bare or EVERYWHERE


def host_names(value: str) -> frozenset[str]:
    """Parse a comma-separated list of host names, without ports; they are compared in lower case."""
    names = frozenset(name.strip().lower() for name in value.split(",") if name.strip())
    for name in names:
        if not _HOST_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a host name; write ratelimit,ratelimit.default.svc.cluster.local")
    return names


def host_port(value: str) -> tuple[str, int]:
    """Parse ``host:port``, ``[::1]:port`` or ``:port`` (every IPv4 interface)."""
    name, colon, number = value.rpartition(":")
    if not colon or (":" in name and not name.startswith("[")):
        raise ValueError("not host:port; write :9090, 127.0.0.1:9090 or [::]:9090")
    return address(name), port_number(number)


class PeerName(NamedTuple):
    """A name or an address of other replicas, in lower case; ``port`` is None if none was written."""

    host: str
    port: int | None


def peer_names(value: str) -> tuple[PeerName, ...]:
    """Parse names and addresses, each with or without a port, separated by commas; empty: none."""
    return tuple(_peer_name(each.strip()) for each in value.split(",")) if value.strip() else ()


def _peer_name(value: str) -> PeerName:
    bracketed = _BRACKETED.fullmatch(value)
    host, _, port = (bracketed[1], "", bracketed[2]) if bracketed else value.partition(":")
    named = _HOST_NAME.fullmatch(host.lower().removesuffix("."))
    if not (_is_ipv6(host) if bracketed else named) or port == "0":
        raise ValueError(
            f"{value!r} is not host or host:port; write ratelimitd-peers:6071, or 10.0.0.1:6071,[::1]:6071"
        )
    return PeerName(host.lower(), None if not port and not value.endswith(":") else port_number(port))


def _is_ipv6(host: str) -> bool:
    try:
        return bool(IPv6Address(host))
    except ValueError:
        return False


def network(value: str) -> str:
    """Parse an address or a network (CIDR). IPv4 in the form of IPv6 is IPv4, as it is where addresses are compared."""
    found = ip_network(value)
    inner = found.network_address.ipv4_mapped if isinstance(found, IPv6Network) else None
    if inner is None or found.prefixlen < MAPPED_BITS:
        return str(found)
    return str(ip_network((inner, found.prefixlen - MAPPED_BITS)))


def networks(value: str) -> tuple[str, ...]:
    """Parse addresses and networks (CIDRs), separated by commas; empty: none."""
    try:
        return tuple(network(each.strip()) for each in value.split(",")) if value.strip() else ()
    except ValueError:
        raise ValueError("not addresses or networks without host bits; write 10.0.0.0/8,::1") from None


class Origin(NamedTuple):
    """Scheme, host and port of a URL."""

    scheme: str
    host: str
    port: int


def origin(value: str) -> Origin:
    """Parse an http or https URL of nothing but scheme, host and port."""
    try:
        url = urlsplit(value)
        port = url.port
    except ValueError:
        raise ValueError(_ORIGIN) from None
    if value and "://" not in value:
        origin(f"http://{value}")
        raise ValueError(f"has no scheme; write http://{value}")
    bare = url.path in ("", "/") and not url.query and not url.fragment and url.username is None
    if url.scheme not in _SCHEMES or not url.hostname or not bare or port == 0:
        raise ValueError(_ORIGIN)
    if any(not " " < character < "\x7f" for character in url.netloc):
        raise ValueError(_ORIGIN)
    return Origin(url.scheme, url.hostname, port or _SCHEMES[url.scheme])


def origin_url(value: str) -> str:
    """Check a URL as ``origin`` does, and return it as written."""
    origin(value)
    return value


def quota(value: str) -> tuple[int, str]:
    """Parse ``10/s``, ``100/min`` or ``1000/day``: requests, and a unit of a policy."""
    amount, _, unit = value.partition("/")
    if not amount.isascii() or not amount.isdecimal() or unit not in _UNITS:
        raise ValueError("not a limit; write one like 10/s, 100/min or 1000/day")
    if not 1 <= int(amount) <= UINT32_MAX:
        raise ValueError(f"must be from 1 to {UINT32_MAX} requests")
    return int(amount), _UNITS[unit]


def go_host_port(value: str) -> tuple[str, int]:
    """Parse as ``host_port``, but ``:port`` means every interface, IPv4 and IPv6, as in Go; its host is empty."""
    host, port = host_port(value)
    return "" if value.startswith(":") else host, port


def header(value: str) -> str:
    """Parse the name of an HTTP header field (RFC 9110, 5.6.2: a token)."""
    if not _HEADER.fullmatch(value):
        raise ValueError("not a header name; write one like RateLimit-Limit")
    return value


def bearer(value: str) -> str:
    """Parse a token that can be sent over HTTP: visible ASCII, and too long to guess."""
    if len(value) < BEARER_LEAST:
        raise ValueError(f"shorter than {BEARER_LEAST} characters; make one with: openssl rand -hex 32")
    if not _VISIBLE.fullmatch(value):
        raise ValueError("contains white space or non-ASCII characters; make one with: openssl rand -hex 32")
    return value


def path(value: str) -> str:
    """Parse the path part of a URL."""
    if not value.startswith("/") or any(character.isspace() for character in value):
        raise ValueError("not a path; write one like /metrics")
    return text(value)
