"""Options of the Redis store from the settings, and observation of the store."""

from collections.abc import Callable
from typing import Final

from ratelimitd.config.redis_address import Credentials
from ratelimitd.net.files import read_regular
from ratelimitd.observe.logs import get_logger, hide
from ratelimitd.observe.metrics import STORE_BUCKETS, Histogram
from ratelimitd.settings import MAIN_REDIS, PER_SECOND_REDIS, Settings, credentials
from ratelimitd.stores.redis import ConnectOptions, Observer, RedisOptions, Tls

log = get_logger(__name__)

BATCH_BUCKETS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
"""Charges per script call; the maximum is 128."""

AUTH_BYTES: Final = 16 << 10
"""Maximum size of REDIS_AUTH_FILE: Redis accepts no longer argument before AUTH (since CVE-2021-32675)."""


class RedisWatch(Observer):
    """Measures round trips, and logs the availability of Redis servers.

    Attributes:
        latency: round-trip times.
        charges: charges per script call.
        changed: called after each change of availability.
    """

    def __init__(self) -> None:
        self.latency = Histogram(STORE_BUCKETS)
        self.charges = Histogram(BATCH_BUCKETS)
        self.changed: Callable[[], None] = lambda: None

    def round_trip(self, seconds: float, charges: int) -> None:
        """Record a round trip; see ``Observer``."""
        self.latency.observe(seconds)
        self.charges.observe(charges)

    def edge(self, name: str, up: bool, reason: str) -> None:  # noqa: FBT001 -- the store's signature
        """Log a change of availability, one line each; see ``Observer``."""
        if up:
            log.info("redis is connected", address=name)
        else:
            log.warning("redis is unavailable", address=name, reason=reason)
        self.changed()


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
