"""Each kind of Redis by the variables of docs/migrating/plain.md; only addresses differ."""

from contextlib import contextmanager

import pytest

from testkit.redis_cluster import redis_cluster
from testkit.redis_sentinel import redis_sentinel
from testkit.redis_server import redis_server
from testkit.tls_files import tls_files
from tests.app.test_process import call, get, until
from tests.service import service

pytestmark = [pytest.mark.redis, pytest.mark.process]

POLICY = """
domain: d
descriptors:
  - {key: user, rate_limit: {unit: hour, requests_per_unit: 2}}
"""
PASSWORD = "canary"


@contextmanager
def tcp(_):
    """One server."""
    with redis_server(tcp=True) as redis:
        yield {"REDIS_SOCKET_TYPE": "tcp", "REDIS_URL": redis.address}


@contextmanager
def url(_):
    """One server, by a URL with a password and a database."""
    with redis_server("--requirepass", PASSWORD, tcp=True) as redis:
        yield {"REDIS_SOCKET_TYPE": "tcp", "REDIS_URL": f"redis://default:{PASSWORD}@{redis.address}/1"}


@contextmanager
def unix(_):
    """A unix socket."""
    with redis_server() as redis:
        yield {"REDIS_SOCKET_TYPE": "unix", "REDIS_URL": redis.address}


@contextmanager
def auth(_):
    """A password."""
    with redis_server("--requirepass", PASSWORD, tcp=True) as redis:
        yield {"REDIS_SOCKET_TYPE": "tcp", "REDIS_URL": redis.address, "REDIS_AUTH": PASSWORD}


@contextmanager
def tls(folder):
    """TLS with a client certificate, by the variables of Envoy Gateway and an authority."""
    files = tls_files(folder)
    with redis_server(tls=files, client_certificate=True) as redis:
        yield {
            "REDIS_SOCKET_TYPE": "tcp",
            "REDIS_URL": redis.address,
            "REDIS_TLS": "true",
            "REDIS_TLS_CACERT": str(files.authority),
            "REDIS_TLS_CLIENT_CERT": str(files.client_certificate),
            "REDIS_TLS_CLIENT_KEY": str(files.client_key),
        }


@contextmanager
def sentinel(_):
    """A master by its Sentinels, in capitals as the manifests of envoyproxy/ratelimit write the type."""
    with redis_sentinel(password=PASSWORD) as running:
        yield {
            "REDIS_SOCKET_TYPE": "tcp",
            "REDIS_TYPE": "SENTINEL",
            "REDIS_URL": running.url,
            "REDIS_AUTH": PASSWORD,
            "REDIS_PIPELINE_WINDOW": "100us",
        }


@contextmanager
def cluster(_):
    """A cluster by some of its nodes, with the pipeline that envoyproxy/ratelimit asks for there."""
    with redis_cluster() as running:
        yield {
            "REDIS_SOCKET_TYPE": "tcp",
            "REDIS_TYPE": "CLUSTER",
            "REDIS_URL": ",".join(node.address for node in running.nodes[:2]),
            "REDIS_PIPELINE_WINDOW": "100us",
            "REDIS_PIPELINE_LIMIT": "8",
        }


@contextmanager
def persecond(_):
    """A second Redis for limits per second."""
    with redis_server(tcp=True) as redis, redis_server(tcp=True) as second:
        yield {
            "REDIS_SOCKET_TYPE": "tcp",
            "REDIS_URL": redis.address,
            "REDIS_PERSECOND": "true",
            "REDIS_PERSECOND_SOCKET_TYPE": "tcp",
            "REDIS_PERSECOND_URL": second.address,
        }


KINDS = (tcp, url, unix, auth, tls, sentinel, cluster, persecond)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_it_counts_in_each_kind_of_redis(kind, tmp_path):
    """The service is healthy once it is connected, and its limit bites."""
    config = tmp_path / "data" / "ratelimit" / "config"
    config.mkdir(parents=True)
    (config / "config.yaml").write_text(POLICY)
    files = {"RUNTIME_ROOT": str(tmp_path / "data"), "RUNTIME_SUBDIRECTORY": "ratelimit", "RUNTIME_WATCH_ROOT": "false"}
    with kind(tmp_path) as env:
        async with service(env={**files, "USE_STATSD": "false", **env}) as running:

            async def health():
                return (await get(running.http, "/healthcheck"))[0]

            await until(health, 200)
            assert [await call(running.grpc) for _ in range(3)] == ["OK", "OK", "OVER_LIMIT"]
            assert PASSWORD not in running.text
