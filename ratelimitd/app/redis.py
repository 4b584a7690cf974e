"""Options of the Redis store from the settings, and observation of the store."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from ratelimitd.config.redis_address import Credentials
from ratelimitd.net.files import read_regular
from ratelimitd.observe.logs import get_logger, hide
from ratelimitd.observe.metrics import STORE_BUCKETS, Histogram
from ratelimitd.policy import OnStoreFailure
from ratelimitd.settings import MAIN_REDIS, PER_SECOND_REDIS, Settings, credentials
from ratelimitd.stores.redis import ConnectOptions, Observer, RedisOptions, Tls

from .store_failures import MINUTE, Later, by_policy

log = get_logger(__name__)

BATCH_BUCKETS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
"""Charges per script call; the maximum is 128."""

AUTH_BYTES: Final = 16 << 10
"""Maximum size of REDIS_AUTH_FILE: Redis accepts no longer argument before AUTH (since CVE-2021-32675)."""

LINES: Final = 20
"""Lines a minute about the availability of servers: a cluster of some nodes that are lost and found. A Redis that names
a thousand dead nodes, or sends a wrong reply on each connection, would write thousands."""


class Outage(NamedTuple):
    """A time in which every call to a server fails.

    Attributes:
        event: message of its log lines.
        began: monotonic seconds.
        decided: charges that had been decided by each failure policy until then.
    """

    event: str
    began: float
    decided: Counter[OnStoreFailure]


class RedisWatch(Observer):
    """Measures round trips, and logs the availability of Redis servers: at once, each minute, and when it is back.

    Args:
        fallbacks: charges that were decided by each failure policy.

    Attributes:
        latency: round-trip times.
        charges: charges per script call.
        changed: called after each change of availability.
        troubles: returns the servers of which every call fails, with the current reasons.
    """

    def __init__(self, fallbacks: Counter[OnStoreFailure], clock: Callable[[], float], later: Later) -> None:
        self.latency = Histogram(STORE_BUCKETS)
        self.charges = Histogram(BATCH_BUCKETS)
        self.changed: Callable[[], None] = lambda: None
        self.troubles: Callable[[], Sequence[tuple[str, str]]] = tuple
        self._fallbacks = fallbacks
        self._clock = clock
        self._later = later
        self._outages: dict[str, Outage] = {}
        self._sharded: dict[str, bool | None] = {}
        self._repeating = False
        self._minute = clock()
        self._lines = 0

    def round_trip(self, seconds: float, charges: int) -> None:
        """Record a round trip; see ``Observer``."""
        self.latency.observe(seconds)
        self.charges.observe(charges)

    def edge(self, name: str, up: bool, reason: str) -> None:
        """Log a change of availability; see ``Observer``."""
        if up:
            self._ended("redis is connected", name)
        else:
            self._began("redis is unavailable", name, reason)

    def refusing(self, name: str, reason: str) -> None:
        """Log that a server refuses every call, or accepts calls again; see ``Observer``."""
        if reason:
            self._began("redis refuses every call", name, reason)
        else:
            self._ended("redis accepts calls", name)

    def sharding(self, name: str, sharded: bool | None, reason: str) -> None:
        """Log the result of a trial if it is another one than before; see ``Observer``."""
        if self._sharded.get(name, False) == sharded:
            return
        self._sharded[name] = sharded
        if sharded is None:
            log.warning("whether redis is several servers behind one address is unknown", address=name, reason=reason)
        elif sharded:
            note = "each script call has one key; all_or_nothing over several limits takes two steps"
            log.warning("redis is several servers behind one address", address=name, reason=reason, note=note)
        else:
            log.info("redis is one server", address=name)

    def _began(self, event: str, name: str, reason: str) -> None:
        before = self._outages.get(name)
        began, decided = (self._clock(), self._fallbacks.copy()) if before is None else before[1:]
        self._outages[name] = Outage(event, began, decided)
        self._say(log.warning, event, address=name, reason=reason)
        if not self._repeating:
            self._repeating = True
            self._later(MINUTE, self._repeat)
        self.changed()

    def _repeat(self) -> None:
        """Log each outage again, with the reason that it has now."""
        reasons = dict(self.troubles())
        self._outages = {name: outage for name, outage in self._outages.items() if name in reasons}
        for name, outage in self._outages.items():
            self._say(log.warning, outage.event, address=name, reason=reasons[name], **self._sum(outage))
        self._repeating = bool(self._outages)
        if self._repeating:
            self._later(MINUTE, self._repeat)

    def _ended(self, event: str, name: str) -> None:
        outage = self._outages.pop(name, None)
        self._say(log.info, event, address=name, **({} if outage is None else self._sum(outage)))
        self.changed()

    def _say(self, write: Callable[..., object], event: str, **fields: object) -> None:
        """Write a line, unless this minute has had enough; the first one after it says how many were left out."""
        now, left_out = self._clock(), self._lines - LINES
        if now - self._minute >= MINUTE:
            if left_out > 0:
                log.warning("lines about redis were left out", lines=left_out)
            self._minute, self._lines = now, 0
        self._lines += 1
        if self._lines <= LINES:
            write(event, **fields)

    def _sum(self, outage: Outage) -> dict[str, object]:
        """Return how long an outage has lasted, and how many charges were decided without Redis meanwhile."""
        decided = self._fallbacks - outage.decided
        return {"seconds": round(self._clock() - outage.began, 1), "on_store_failure": by_policy(decided)}


def redis_options(settings: Settings) -> RedisOptions | None:
    """Return the options of the Redis store; None: counters are kept in memory."""
    main = _connect_options(settings, MAIN_REDIS)
    if main is None:
        return None
    return RedisOptions(
        main,
        _connect_options(settings, PER_SECOND_REDIS),
        prefix=settings.cache_key_prefix.encode(),
        jitter=settings.expiration_jitter_max_seconds,
        budget=settings.store_budget,
        max_in_flight=settings.store_in_flight,
    )


def hide_passwords(settings: Settings) -> None:
    """Mask the passwords of the settings in logs."""
    for prefix in (MAIN_REDIS, PER_SECOND_REDIS):
        variables, url = settings.redis_variables(prefix), settings.redis_at(prefix)
        for each in filter(None, (variables.auth, variables.sentinel_auth, *(url.credentials if url else ()))):
            hide(each.password)


def _connect_options(settings: Settings, prefix: str) -> ConnectOptions | None:
    variables, url = settings.redis_variables(prefix), settings.redis_at(prefix)
    return url and ConnectOptions(
        url.deployment,
        credentials=_credentials(variables.auth or url.credentials[0], variables.auth_file),
        sentinel_credentials=_credentials(variables.sentinel_auth or Credentials()),
        tls=_tls(settings) if variables.tls or url.tls else None,
        pool_size=variables.pool_size,
        connect_timeout=variables.timeout,
    )


def _tls(settings: Settings) -> Tls:
    return Tls(
        settings.redis_tls_cacert,
        settings.redis_tls_client_cert,
        settings.redis_tls_client_key,
        check_hostname=not settings.redis_tls_skip_hostname_verification,
    )


def _credentials(given: Credentials, file: str = "") -> Callable[[], Credentials]:
    """Return a function that returns the credentials of a new connection: those in the file then, or the given ones."""

    def read() -> Credentials:
        found = credentials(read_regular(file, AUTH_BYTES).decode().strip())
        hide(found.password)
        return found

    return read if file else lambda: given
