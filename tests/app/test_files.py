"""How open files are divided among the ports, and a service that has few."""

import asyncio
import socket
from contextlib import ExitStack

import aiohttp
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from ratelimitd.app import files
from ratelimitd.app.files import (
    CALLERS,
    GRPC_MOST,
    HTTP_MOST,
    HTTP_PART,
    RESERVE,
    SIDES,
    Division,
    Users,
    divide,
    needed,
)
from ratelimitd.settings import load
from tests.service import service

SERVICE = Users(grpc=True, http=3, proxy=0, redis=10)
PROXY = Users(grpc=False, http=1, proxy=10_000, redis=0)
BOTH = Users(grpc=True, http=3, proxy=1_000, redis=20)


@pytest.mark.parametrize(
    ("limit", "users", "division"),
    [
        (1 << 20, SERVICE, Division(GRPC_MOST, HTTP_MOST, 0)),
        (4_096, SERVICE, Division(4_096 - RESERVE - 10 - 3 * 256, 256, 0)),
        (1_024, SERVICE, Division(1_024 - RESERVE - 10 - 3 * 64, 64, 0)),
        (256, SERVICE, Division(102, 16, 0)),
        (1 << 20, PROXY, Division(0, 256, ((1 << 20) - RESERVE - 256) // SIDES)),
        (4_096, PROXY, Division(0, 256, (4_096 - RESERVE - 256) // SIDES)),
        (4_096, BOTH, Division(4_096 - RESERVE - 20 - 3 * 256 - 2_000, 256, 1_000)),
        (2_048, BOTH, Division(CALLERS, 128, (2_048 - RESERVE - 20 - 3 * 128 - CALLERS) // SIDES)),
        (512, BOTH, Division(150, 32, 75)),
    ],
)
def test_files_are_divided(limit, users, division):
    """The table of docs/operations.md: each port has its part, gRPC before a proxy, HTTP ports a sixteenth at most."""
    assert divide(limit, users) == division


@pytest.mark.parametrize("users", [SERVICE, PROXY, BOTH])
@pytest.mark.parametrize("limit", [256, 300, 1_000, 1_024, 4_095, 4_096, 10_000, 65_536, 1 << 20])
def test_all_ports_fit(limit, users):
    """With every place taken the process has opened no more files than it may, the reserve included."""
    grpc, http, proxy = divide(limit, users)
    assert RESERVE + users.redis + grpc + http * users.http + SIDES * min(proxy, users.proxy) <= limit
    assert min(http, grpc if users.grpc else proxy) > 0


@pytest.mark.parametrize("users", [SERVICE, PROXY, BOTH])
def test_what_is_needed_is_enough(users):
    """With as many files all callers to allow for have a place, and with a few less not all."""

    def callers(limit):
        grpc, _, proxy = divide(limit, users)
        return min(grpc, CALLERS) + SIDES * min(proxy, users.proxy)

    assert callers(needed(users)) == users.callers
    assert callers(needed(users) - HTTP_PART) < users.callers


@pytest.mark.parametrize(("limit", "warnings"), [(707, 0), (706, 1), (-1, 0)])
def test_too_few_files_are_a_warning(monkeypatch, limit, warnings):
    """The start says how many there are, how many are needed, what the ports get, and what to set."""
    monkeypatch.setattr(files.resource, "getrlimit", lambda _: (limit, limit))
    settings = load({"REDIS_URL": "r:1", "REDIS_POOL_SIZE": "10"}, {})
    with capture_logs() as logs:
        division = files.divided(settings, None, with_service=True)
    assert division == divide(1 << 20 if limit < 0 else limit, SERVICE._replace(http=2))
    assert [line["needed"] for line in logs] == [707] * warnings
    assert all("LimitNOFILE=707" in line["change"] and line["places"] == {"grpc": 512, "http": 44} for line in logs)


@pytest.mark.process
@pytest.mark.scenario("no file descriptor is left")
@pytest.mark.parametrize("limit", [256, 1_024])
async def test_silent_connections_take_nothing_down(limit, tmp_path):
    """More of them than a port has places, and than the process may open files: all ports answer new connections."""
    (tmp_path / "policy.yaml").write_text("domain: d\ndescriptors: []\n")
    async with service("--config", str(tmp_path), files=limit) as running:
        with ExitStack() as stack:
            for turn in range(limit):
                for address in (running.grpc, running.http, running.debug)[: 1 if turn % 4 else 3]:
                    host, port = address.rsplit(":", 1)
                    silent = socket.create_connection((host, int(port)), source_address=(f"127.0.0.{1 + turn % 3}", 0))
                    stack.callback(silent.close)
                if turn % 64 == 0:
                    await asyncio.sleep(0)
            async with aio.insecure_channel(running.grpc) as channel:
                check = health_pb2_grpc.HealthStub(channel).Check
                assert (await check(health_pb2.HealthCheckRequest(), timeout=60, wait_for_ready=True)).status
            for path in ("livez", "readyz", "metrics"):
                async with aiohttp.request("GET", f"http://{running.http}/{path}") as answer:
                    text = await answer.text()
                    assert answer.status == 200
            async with aiohttp.request("GET", f"http://{running.debug}/rlconfig") as answer:
                assert answer.status == 200
            assert 'ratelimitd_http_refused_total{port="http",reason="files"}' not in text
            assert 'ratelimitd_grpc_refused_total{reason="files"} 0' in text
            assert f'ratelimitd_connection_places{{port="http"}} {limit // 16}' in text
            assert 'ratelimitd_connections_made_room_total{port="debug"} 0' not in text
        assert [line for line in running.log if line.get("reason") == "files"] == []
