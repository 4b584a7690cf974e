"""Settings: what names a Redis, whatever it consists of."""

import pytest

from ratelimitd.settings import RedisAddress, RedisPlace, load
from ratelimitd.settings.redis_url import redis_address


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("redis:6380", RedisAddress("redis", 6380)),
        ("redis", RedisAddress("redis", 6379)),
        ("[::1]:6380", RedisAddress("::1", 6380)),
        ("redis://h", RedisAddress("h", 6379)),
        ("redis://:pa%40ss@h:1/2", RedisAddress("h", 1, "", "", "pa@ss", 2)),
        ("redis://u:p@h", RedisAddress("h", 6379, "", "u", "p")),
        ("redis://u:p:q@h", RedisAddress("h", 6379, "", "u", "p:q")),
        ("rediss://h:1", RedisAddress("h", 1, tls=True)),
        ("/run/redis.sock", RedisAddress(path="/run/redis.sock")),
        ("unix:///run/redis.sock", RedisAddress(path="/run/redis.sock")),
    ],
)
def test_redis_url(value: str, address: RedisAddress) -> None:
    """REDIS_URL is read in each of its forms."""
    assert redis_address(value) == address


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("u:p@h:1", "redis://"),
        ("h:port", "port"),
        ("h:0", "port"),
        ("::1", "not host:port"),
        ("redis://h/x", "database"),
        ("redis://h?db=1", "query"),
        ("redis://", "not host:port"),
    ],
)
def test_not_a_redis_url(value: str, why: str) -> None:
    """What is not the address of a Redis server is refused, with the reason."""
    with pytest.raises(ValueError, match=why):
        redis_address(value)


def test_redis_without_socket_type() -> None:
    """A host:port needs no REDIS_SOCKET_TYPE, though upstream's default is unix; saying tcp is fine too."""
    expected = RedisPlace("single", (RedisAddress("h", 1),))
    assert expected == load({"REDIS_URL": "h:1"}, {}).redis
    assert expected == load({"REDIS_URL": "h:1", "REDIS_SOCKET_TYPE": "tcp"}, {}).redis


HOSTS = RedisAddress("a", 1), RedisAddress("b", 2)


@pytest.mark.parametrize(
    ("kind", "url", "place"),
    [
        ("CLUSTER", "a:1,b:2", RedisPlace("cluster", HOSTS)),
        ("cluster", "a:1", RedisPlace("cluster", HOSTS[:1])),
        ("cluster", "rediss://a:1, b:2", RedisPlace("cluster", (HOSTS[0]._replace(tls=True), HOSTS[1]))),
        ("SENTINEL", "mymaster,a:1,b:2", RedisPlace("sentinel", HOSTS, "mymaster")),
    ],
)
def test_redis_type(kind: str, url: str, place: RedisPlace) -> None:
    """REDIS_TYPE says how REDIS_URL is read, in upstream's forms; the same holds for REDIS_PERSECOND_*."""
    settings = load(
        {
            "REDIS_URL": url,
            "REDIS_TYPE": kind,
            "REDIS_PERSECOND": "true",
            "REDIS_PERSECOND_URL": url,
            "REDIS_PERSECOND_TYPE": kind,
        },
        {},
    )
    assert settings.redis == settings.per_second == place
    assert place.tls == ("rediss" in url)


def test_no_second_redis_unless_asked_for() -> None:
    """REDIS_PERSECOND_URL alone means nothing, as upstream has it."""
    assert load({"REDIS_URL": "a:1", "REDIS_PERSECOND_URL": "b:1"}, {}).per_second is None


def test_redis_auth() -> None:
    """REDIS_AUTH is split at its first colon; without one it is a password."""
    assert load({"REDIS_ADDR": "h:1", "REDIS_AUTH": "u:p:q"}, {}).redis_auth == ("u", "p:q")
    assert load({"REDIS_ADDR": "h:1", "REDIS_AUTH": "p"}, {}).redis_auth == ("", "p")
