"""The Redis of a process: how it is used, by the settings, and what is told of it."""

from collections.abc import Callable
from typing import Final

import structlog

from ratelimitd.net.files import read_regular
from ratelimitd.observe.logs import hide
from ratelimitd.observe.metrics import STORE_BUCKETS, Histogram
from ratelimitd.settings import RedisAddress, RedisPlace, Settings
from ratelimitd.settings.redis_url import credentials
from ratelimitd.stores.redis import Address, Credentials, Observer, Place, RedisOptions, Tls

log = structlog.stdlib.get_logger(__name__)

BATCH_BUCKETS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
"""Charges of a script call; 128 are the most that share one."""

AUTH_BYTES: Final = 16 << 10
"""A longer REDIS_AUTH_FILE is refused: Redis takes no longer argument before AUTH (since CVE-2021-32675)."""

Auth = tuple[str, str] | None


class RedisWatch(Observer):
    """Is told what happens with Redis.

    Attributes:
        latency: seconds of each round trip.
        charges: of each script call.
        changed: called at each edge.
    """

    def __init__(self) -> None:
        self.latency = Histogram(STORE_BUCKETS)
        self.charges = Histogram(BATCH_BUCKETS)
        self.changed: Callable[[], None] = lambda: None

    def round_trip(self, seconds: float, charges: int) -> None:
        """See ``Observer``."""
        self.latency.observe(seconds)
        self.charges.observe(charges)

    def edge(self, name: str, up: bool, reason: str) -> None:  # noqa: FBT001 -- the store's signature
        """See ``Observer``: one line an edge."""
        if up:
            log.info("redis is connected", address=name)
        else:
            log.warning("redis is away", address=name, reason=reason)
        self.changed()


def redis_options(settings: Settings, main: RedisPlace) -> RedisOptions:
    """Return how the store uses the Redis at ``main``, and the one for limits a second if there is one."""
    second = settings.per_second
    return RedisOptions(
        place=_place(
            main,
            _credentials(settings.redis_auth, settings.redis_auth_file, main.addresses[0]),
            _credentials(settings.redis_sentinel_auth),
            _tls(settings) if settings.redis_tls or main.tls else None,
            settings.redis_pool_size,
            settings.redis_timeout,
        ),
        per_second=second
        and _place(
            second,
            _credentials(settings.redis_persecond_auth, settings.redis_persecond_auth_file, second.addresses[0]),
            _credentials(settings.redis_persecond_sentinel_auth),
            _tls(settings) if settings.redis_persecond_tls or second.tls else None,
            settings.redis_persecond_pool_size,
            settings.redis_persecond_timeout,
        ),
        prefix=settings.cache_key_prefix.encode(),
        jitter=settings.expiration_jitter_max_seconds,
        budget=settings.store_budget,
        max_in_flight=settings.store_in_flight,
    )


def hide_passwords(settings: Settings) -> None:
    """Keep the passwords of the settings out of the log."""
    for auth in (
        settings.redis_auth,
        settings.redis_sentinel_auth,
        settings.redis_persecond_auth,
        settings.redis_persecond_sentinel_auth,
    ):
        hide(auth[1] if auth else "")
    for place in (settings.redis, settings.per_second):
        for address in place.addresses if place else ():
            hide(address.password)


def _place(
    named: RedisPlace,
    credentials: Callable[[], Credentials],
    sentinel_credentials: Callable[[], Credentials],
    tls: Tls | None,
    pool_size: int,
    connect_timeout: float,
) -> Place:
    return Place(
        addresses=tuple(Address(address.host, address.port, address.path) for address in named.addresses),
        kind=named.kind,
        master=named.master,
        database=named.addresses[0].database,
        credentials=credentials,
        sentinel_credentials=sentinel_credentials,
        tls=tls,
        pool_size=pool_size,
        connect_timeout=connect_timeout,
    )


def _tls(settings: Settings) -> Tls:
    return Tls(
        settings.redis_tls_cacert,
        settings.redis_tls_client_cert,
        settings.redis_tls_client_key,
        check_hostname=not settings.redis_tls_skip_hostname_verification,
    )


def _credentials(auth: Auth, file: str = "", address: RedisAddress | None = None) -> Callable[[], Credentials]:
    """Return what gives the credentials at each connection: of the file as it is then, or always the same."""
    if file:

        def read() -> Credentials:
            found = Credentials(*credentials(read_regular(file, AUTH_BYTES).decode().strip()))
            hide(found.password)
            return found

        return read
    user, password = auth or ((address.user, address.password) if address else ("", ""))
    return lambda: Credentials(user, password)
