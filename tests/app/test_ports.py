"""Ports of one process that do not agree: the start says which, and what to set."""

import pytest

from ratelimitd.app.ports import clashing
from ratelimitd.settings import load
from testkit.redis_server import free_port
from tests.gateway.files import gateway as gateway_file
from tests.gateway_process import gateway
from tests.service import service

FREE = {"PORT": "1", "GRPC_PORT": "2", "DEBUG_PORT": "3", "LISTEN_ADDR": ":4"}
FILE = """\
upstreams: {{app: {{url: "http://127.0.0.1:{port}"}}}}
routes:
  - rate_limits:
      - actions: [{{remote_address: {{}}}}]
policies:
  domain: d
  descriptors:
    - {{key: remote_address, rate_limit: {{unit: second, requests_per_unit: 5}}}}
"""


def found(*upstreams, admin=None, **env):
    """What does not agree in a proxy with the service."""
    settings = load({**FREE, **env}, {})
    endpoints = {"app": {"endpoints": list(upstreams) or ["http://app:9"]}}
    made = gateway_file(upstreams=endpoints, **({} if admin is None else {"admin": {"port": admin}}))
    return [str(clash) for clash in clashing(settings, made, with_service=True)]


@pytest.mark.parametrize(
    ("env", "wrong"),
    [
        ({"PORT": "4"}, ["proxy and PORT are both 4: set PORT to a different port"]),
        ({"PORT": "4", "HOST": "127.0.0.1"}, ["proxy and PORT are both 4: set PORT to a different port"]),
        ({"GRPC_PORT": "1"}, ["HTTP and GRPC_PORT are both 1: set GRPC_PORT to a different port"]),
        ({"GRPC_PORT": "1", "GRPC_UDS": "/s"}, []),
        ({"PORT": "4", "HOST": "127.0.0.1", "LISTEN_ADDR": "127.0.0.2:4"}, []),
        ({"PORT": "0", "GRPC_PORT": "0"}, []),
        ({"PORT": "4", "HOST": "::1", "LISTEN_ADDR": "0.0.0.0:4"}, []),
        ({"PORT": "4", "HOST": "::1"}, ["proxy and PORT are both 4: set PORT to a different port"]),
        (
            {"PROMETHEUS_ADDR": ":3", "USE_PROMETHEUS": "true"},
            ["debug and PROMETHEUS_ADDR are both 3: set PROMETHEUS_ADDR to a different port"],
        ),
        (
            {"PEER_ADDR": ":3", "ADMIN_TOKEN": "0123456789abcdef"},
            ["debug and PEER_ADDR are both 3: set PEER_ADDR to a different port"],
        ),
        ({}, []),
    ],
)
def test_a_port_is_bound_once(env, wrong):
    """Two of one address are told with the setting that moves one; addresses that differ are none of them."""
    assert found(**env) == wrong


def test_the_port_of_the_pages_is_one_of_them():
    """``admin.port`` of the gateway file."""
    assert "admin and PORT are both 1" in found(admin=1)[0]
    assert "proxy and admin.port of the gateway file are both 4" in found(admin=4)[0]


@pytest.mark.parametrize(
    ("upstream", "env", "name"),
    [
        ("http://localhost:4", {}, "proxy"),
        ("http://[::1]:4", {}, "proxy"),
        ("http://127.0.0.1:4", {"LISTEN_ADDR": "localhost:4"}, "proxy"),
        ("http://127.0.0.2:4", {"LISTEN_ADDR": "127.0.0.2:4"}, "proxy"),
        ("http://localhost:2", {}, "gRPC"),
        ("http://localhost:3", {}, "debug"),
        ("http://127.0.0.1:4", {"LISTEN_ADDR": "192.0.2.1:4"}, ""),
        ("http://[::1]:4", {"LISTEN_ADDR": "0.0.0.0:4"}, ""),
        ("http://app:4", {}, ""),
        ("http://localhost:9", {}, ""),
    ],
)
def test_no_upstream_is_the_process_itself(upstream, env, name):
    """Its requests would go in a circle, or to a port that speaks another protocol."""
    wrong = found("http://app:9", upstream, **env)
    assert len(wrong) == bool(name)
    assert not name or wrong[0].startswith(f"upstream 'app' is the {name} port of this process")


@pytest.mark.process
async def test_a_proxy_with_a_service_on_its_own_port_does_not_start(tmp_path):
    """It says so, instead of that the address is in use: it is, by itself."""
    file, port = tmp_path / "gateway.yaml", free_port()
    file.write_text(FILE.format(port=1))
    env = {"LISTEN_ADDR": f"127.0.0.1:{port}", "PORT": str(port)}
    async with gateway("--config", str(file), "--with-service", env=env, ready=False) as running:
        told = await running.logged("cannot start")
        assert await running.ended() == 1
    assert told["reason"] == f"proxy and PORT are both {port}: set PORT to a different port"


@pytest.mark.process
async def test_a_service_with_two_ports_in_one_does_not_start():
    """The same of a service alone."""
    port = str(free_port())
    async with service(env={"PORT": port, "GRPC_PORT": port}, ready=False) as running:
        told = await running.logged("cannot start")
        assert await running.ended() == 1
    assert told["reason"] == f"HTTP and GRPC_PORT are both {port}: set GRPC_PORT to a different port"


@pytest.mark.process
async def test_a_reload_is_held_to_the_same(tmp_path):
    """A file whose upstream is the proxy itself is refused, and the one before it stays."""
    file, port = tmp_path / "gateway.yaml", free_port()
    file.write_text(FILE.format(port=1))
    async with gateway("--config", str(file), env={"LISTEN_ADDR": f"127.0.0.1:{port}"}) as running:
        file.write_text(FILE.format(port=port))
        refused = await running.logged("policy rejected")
        told = await running.logged("is the proxy port of this process", after=running.log.index(refused))
    assert refused["note"] == "the previous policy stays active"
    assert told["@message"].startswith(f"{file}: upstream 'app'")
