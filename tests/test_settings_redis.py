"""Settings: what names a Redis, whatever it consists of."""

import pytest

from ratelimitd.config.redis_address import Credentials, Deployment, RedisAddress
from ratelimitd.settings import MAIN_REDIS, PER_SECOND_REDIS, ROWS, RedisUrl, RedisVariables, RowStatus, load
from ratelimitd.settings.redis_url import redis_address


def one(address, *credentials, database=0, tls=False):
    return RedisUrl(Deployment((address,), database=database), (Credentials(*credentials),), tls)


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("redis:6380", one(RedisAddress("redis", 6380))),
        ("redis", one(RedisAddress("redis", 6379))),
        ("[::1]:6380", one(RedisAddress("::1", 6380))),
        ("redis://h", one(RedisAddress("h", 6379))),
        ("redis://:pa%40ss@h:1/2", one(RedisAddress("h", 1), "", "pa@ss", database=2)),
        ("redis://u:p@h", one(RedisAddress("h", 6379), "u", "p")),
        ("redis://u:p:q@h", one(RedisAddress("h", 6379), "u", "p:q")),
        ("rediss://h:1", one(RedisAddress("h", 1), tls=True)),
        ("/run/redis.sock", one(RedisAddress(path="/run/redis.sock"))),
        ("unix:///run/redis.sock", one(RedisAddress(path="/run/redis.sock"))),
    ],
)
def test_redis_url(value, url):
    """REDIS_URL is read in each of its forms."""
    assert redis_address(value) == url


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
def test_not_a_redis_url(value, why):
    """What is not the address of a Redis server is refused, with the reason."""
    with pytest.raises(ValueError, match=why):
        redis_address(value)


def test_redis_without_socket_type():
    """A host:port needs no REDIS_SOCKET_TYPE, though upstream's default is unix; saying tcp is fine too."""
    expected = RedisUrl(Deployment((RedisAddress("h", 1),)), (Credentials(),))
    assert expected == load({"REDIS_URL": "h:1"}, {}).redis
    assert expected == load({"REDIS_URL": "h:1", "REDIS_SOCKET_TYPE": "tcp"}, {}).redis


HOSTS = RedisAddress("a", 1), RedisAddress("b", 2)
NONE = Credentials()
WORKING = {row.name: row for row in ROWS if row.status is RowStatus.WORKS}


@pytest.mark.parametrize(
    ("kind", "text", "url"),
    [
        ("CLUSTER", "a:1,b:2", RedisUrl(Deployment(HOSTS, "cluster"), (NONE, NONE))),
        ("cluster", "a:1", RedisUrl(Deployment(HOSTS[:1], "cluster"), (NONE,))),
        ("cluster", "rediss://a:1, b:2", RedisUrl(Deployment(HOSTS, "cluster"), (NONE, NONE), tls=True)),
        ("SENTINEL", "mymaster,a:1,b:2", RedisUrl(Deployment(HOSTS, "sentinel", "mymaster"), (NONE, NONE))),
    ],
)
def test_redis_type(kind, text, url):
    """REDIS_TYPE says how REDIS_URL is read, in upstream's forms; the same holds for REDIS_PERSECOND_*."""
    settings = load(
        {
            "REDIS_URL": text,
            "REDIS_TYPE": kind,
            "REDIS_PERSECOND": "true",
            "REDIS_PERSECOND_URL": text,
            "REDIS_PERSECOND_TYPE": kind,
        },
        {},
    )
    assert settings.redis == settings.per_second == url


@pytest.mark.parametrize(
    ("kind", "text", "shown"),
    [
        ("single", "redis://u:canary@[::1]:1/3", "[::1]:1/3"),
        ("single", "/run/s", "/run/s"),
        ("cluster", "redis://u:canary@a:1,redis://u:canary@b:2", "cluster a:1,b:2"),
        ("sentinel", "mymaster,a:1,b:2", "mymaster of a:1,b:2"),
    ],
)
def test_a_redis_is_named_by_its_servers_and_database(kind, text, shown):
    """In logs and in findings of doctor; its credentials are in neither form of it."""
    url = load({"REDIS_URL": text, "REDIS_TYPE": kind}, {}).redis
    assert str(url) == shown
    assert "canary" not in repr(url)


def test_the_second_redis_has_the_variables_of_the_first():
    """Each REDIS_PERSECOND_* is read, defaults and is masked as its REDIS_*, and says so."""
    assert len(RedisVariables.__annotations__) == len([name for name in WORKING if name.startswith(PER_SECOND_REDIS)])
    for name in map(str.upper, RedisVariables.__annotations__):
        first, second = WORKING[MAIN_REDIS + name], WORKING[PER_SECOND_REDIS + name]
        assert (first.parse, first.default, first.secret) == (second.parse, second.default, second.secret)
        assert second.doc.startswith(f"As {first.name}")


def test_no_second_redis_unless_asked_for():
    """REDIS_PERSECOND_URL alone means nothing, as upstream has it."""
    assert load({"REDIS_URL": "a:1", "REDIS_PERSECOND_URL": "b:1"}, {}).per_second is None


def test_redis_auth():
    """REDIS_AUTH is split at its first colon; without one it is a password."""
    assert load({"REDIS_ADDR": "h:1", "REDIS_AUTH": "u:p:q"}, {}).redis_auth == ("u", "p:q")
    assert load({"REDIS_ADDR": "h:1", "REDIS_AUTH": "p"}, {}).redis_auth == ("", "p")
