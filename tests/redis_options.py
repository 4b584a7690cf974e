"""How a test's store uses a test's Redis: what REDIS_URL and other settings mean, with some options beside them."""

from dataclasses import replace

from ratelimitd.app.redis import redis_options
from ratelimitd.settings import load
from ratelimitd.stores.redis import RedisStore

CONNECT_TIMEOUT = 10.0
"""Seconds; a test machine may be slower than any default."""

OF_CONNECTIONS = ("pool_size", "connect_timeout")


def options_of(url, auth="", env=None, **others):
    """The service's options, but without jitter; ``others`` are fields of RedisOptions or ConnectOptions."""
    given = {"REDIS_URL": url, "EXPIRATION_JITTER_MAX_SECONDS": "0", **({"REDIS_AUTH": auth} if auth else {})}
    settings = load({**given, **(env or {})}, {})
    options = redis_options(settings)
    assert options is not None
    named = {name: others.pop(name) for name in OF_CONNECTIONS if name in others}
    connect = {"connect_timeout": CONNECT_TIMEOUT, **named}
    second = None if options.per_second is None else replace(options.per_second, **connect)  # type: ignore[arg-type]
    return replace(options, main=replace(options.main, **connect), per_second=second, **others)  # type: ignore[arg-type]


def store_of(url, auth="", env=None, **others):
    """A store of these options, which nobody observes."""
    return RedisStore(options_of(url, auth, env, **others))
