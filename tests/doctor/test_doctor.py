"""``ratelimitd doctor``: its exit code, and what it says of settings, policies, ports and the process."""

import asyncio
import json
import os
import resource
import socket
import ssl
import sys
from pathlib import Path

import pytest
import trustme

from ratelimitd.app.gateway_files import read
from ratelimitd.doctor import policy, ports, process, settings
from ratelimitd.doctor.finding import Level
from testkit.builds import extension_only
from testkit.redis_server import free_port
from testkit.tls_files import tls_files
from tests.doctor.doctoring import GOOD, LOCAL, case, doctor, levels, looked, only
from tests.gateway_process import gateway
from tests.service import service


@pytest.mark.redis
@pytest.mark.process
def test_all_is_well(server, good):
    """A good policy and a good Redis are exit code 0, and Redis is left with nothing but the probe's key."""
    server.ask("FLUSHALL")
    done = doctor("--config", good, "--json", REDIS_URL=server.address)

    told = json.loads(done.output)
    assert (done.exit_code, told["ok"], told["bad"]) == (0, True, 0)
    assert {each["subject"] for each in told["findings"]} == {
        *("settings", "policy", f"redis {server.address}", "ports", "process")
    }
    assert set(server.ask("KEYS", "*")) <= {"rl1:probe"}


@pytest.mark.process
@extension_only
def test_bad_is_exit_code_1(good):
    """A Redis that is not there is exit code 1, and what to do about it is on the next line."""
    done = doctor("--config", good, REDIS_URL=f"127.0.0.1:{free_port()}")

    assert done.exit_code == 1
    assert "bad   Connection refused\n        change: start Redis there" in done.output
    assert done.output.endswith("1 bad, 1 warning\n")


@pytest.mark.process
@extension_only
def test_warnings_count_when_strict(good):
    """A warning alone is exit code 0, and 1 with --strict."""
    assert [doctor("--config", good, *more, SHADOW_MODE="true").exit_code for more in ([], ["--strict"])] == [0, 1]
    assert doctor("--config", good, "--strict").exit_code == 0


def test_a_wrong_call_is_exit_code_2():
    """A flag that does not exist is no finding."""
    assert doctor("--no-such-flag").exit_code == 2


def test_settings_that_serve_would_refuse():
    """Every problem of the settings is told, with the flag or variable that made it; nothing else is looked at."""
    told = json.loads(doctor("--grpc-port", "x", "--json", PORT="70000").output)

    assert [each["found"] for each in told["findings"]] == [
        'PORT="70000" cannot be used',
        '--grpc-port="x" cannot be used',
    ]


async def test_settings_that_promise_what_they_do_not_keep():
    """Instances that count in memory share no limit, and what nobody reads is named."""
    found = await looked(settings.check, case(REPLICAS="3", GOSTATS_FLUSH_INTERVAL_SECONDS="5"))

    only(found, "REPLICAS is 3", Level.WARN)
    only(found, "GOSTATS_FLUSH_INTERVAL_SECONDS", Level.WARN)


async def test_a_budget_that_outlasts_envoy():
    """A budget above Envoy's own patience is a warning, the default is none."""
    for budget, warned in (("25ms", True), ("15ms", False)):
        found = await looked(settings.check, case(REDIS_URL="r:1", STORE_BUDGET=budget))
        assert (Level.WARN in levels(found)) is warned


@pytest.mark.process
async def test_errors_of_the_policy(tmp_path):
    """Each error of a policy is bad, with its file and line."""
    file = tmp_path / "bad.yaml"
    file.write_text(GOOD.replace("second", "foo") + "  - value: x\n")
    found = await looked(policy.check, case(str(file)))

    assert levels(found) == {Level.BAD}
    for each, line in zip(found, (4, 5), strict=True):
        assert each.found.startswith(f"{file}: ")
        assert each.found.endswith(f"(line {line})")
    assert "docs/policies.md" in found[0].change


@pytest.mark.process
async def test_no_policy_at_all(tmp_path):
    """Without a policy it says how one is named."""
    (found,) = await looked(policy.check, case(RUNTIME_ROOT=str(tmp_path / "none")))
    assert "--config" in found.change


@pytest.mark.process
async def test_local_limits_without_replicas(tmp_path):
    """on_store_failure: local with one replica is a warning where Redis counts, and none with the true number."""
    file = tmp_path / "shop.yaml"
    file.write_text(LOCAL)

    only(await looked(policy.check, case(str(file), REDIS_URL="r:1")), "1 limits set", Level.WARN)
    found = await looked(policy.check, case(str(file), REDIS_URL="r:1", REPLICAS="2"))
    assert only(found, "while Redis is unavailable", Level.OK).found.endswith("1 local")
    assert levels(found) == levels(await looked(policy.check, case(str(file)))) == {Level.OK}


@pytest.mark.process
async def test_limits_that_can_share_a_counter(tmp_path):
    """One warning names them where Redis has upstream's keys, as the service logs it; elsewhere nothing is said."""
    file = tmp_path / "shop.yaml"
    limit = "rate_limit: {unit: second, requests_per_unit: 5}"
    file.write_text(
        f"domain: shop\ndescriptors: [{{key: a, descriptors: [{{key: b, {limit}}}, {{key: b_c, {limit}}}]}}]\n"
    )

    found = only(await looked(policy.check, case(str(file), REDIS_URL="r:1")), "can share a counter", Level.WARN)
    assert "2 limits" in found.found
    assert "'shop.a.b', 'shop.a.b_c'" in found.found
    for env in (
        {},
        {"REDIS_URL": "r:1", "FIXED_WINDOW_KEYS": "auto"},
        {"REDIS_URL": "r:1", "FIXED_WINDOW_KEYS": "safe"},
    ):
        assert levels(await looked(policy.check, case(str(file), **env))) == {Level.OK}


async def test_a_port_that_a_stranger_has():
    """A port that something else holds is bad, with the setting that moves it."""
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        number = stranger.getsockname()[1]
        found = await looked(ports.check, case(GRPC_PORT=str(number)))
    told = only(found, f"gRPC 127.0.0.1:{number} is in use", Level.BAD)
    assert f"(pid {os.getpid()})" in told.found
    assert "GRPC_PORT" in told.change
    assert len([each for each in found if each.level is Level.OK]) == 2


async def test_a_name_means_the_address_that_the_service_takes(monkeypatch):
    """A port that is taken on the IPv4 address of a name is bad, though its IPv6 address is listed first and free."""
    listed = [(socket.AF_INET6, 1, 6, "", ("::1", 0, 0, 0)), (socket.AF_INET, 1, 6, "", ("127.0.0.1", 0))]
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        number = str(stranger.getsockname()[1])
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: listed)
        found = await looked(ports.check, case(PORT=number, HOST="localhost"))
    only(found, f"HTTP localhost:{number} is in use", Level.BAD)


@pytest.mark.process
async def test_a_port_that_a_proxy_has():
    """It is named, with its process, and is no stranger without a name."""
    async with gateway() as running:
        number = running.proxy.rpartition(":")[2]
        found = await looked(ports.check, case(PORT=number))
        told = only(found, f"HTTP 127.0.0.1:{number} is in use", Level.BAD).found
        assert f"by ratelimitd proxy (pid {running.process.pid})" in told


@pytest.mark.process
async def test_ports_that_the_service_has(good):
    """Beside a service that runs, its own ports are well."""
    async with service("--config", good) as running:
        numbers = [each.rpartition(":")[2] for each in (running.http, running.grpc, running.debug)]
        env = dict(zip(("PORT", "GRPC_PORT", "DEBUG_PORT"), numbers, strict=True))
        found = await looked(ports.check, case(good, **env))

    assert [each.found.endswith(f"answers http://{running.http}/livez") for each in found] == [True] * 3
    assert levels(found) == {Level.OK}


@pytest.mark.parametrize(
    ("answer", "lives"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nOKAY", False),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nOK", False),
        (b"HTTP/1.1 301 Moved\r\nLocation: /livez\r\nContent-Length: 0\r\n\r\n", False),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False),
        (b"", False),
    ],
)
@pytest.mark.parametrize("tls", [False, True])
async def test_who_says_ok_is_a_ratelimitd(answer, lives, tls):
    """With TLS too, where the certificate is for the name that clients know; all else is a stranger."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("shop.example").configure_cert(context)

    async def speak(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0, ssl=context if tls else None)
    number = server.sockets[0].getsockname()[1]
    page = ports.LivenessPage(ports.Port("proxy", "0.0.0.0", number, "LISTEN_ADDR"), "/healthz", tls)
    assert await ports._is_alive(page) == lives
    server.close()


async def test_one_port_for_two():
    """Two of the service's own on one port are bad, though the port is free."""
    number = str(free_port())
    found = await looked(ports.check, case(PORT=number, GRPC_PORT=number, GRPC_HOST="0.0.0.0"))
    assert only(found, f"HTTP and GRPC_PORT are both {number}", Level.BAD).change == "set GRPC_PORT to a different port"


async def test_a_unix_socket(tmp_path):
    """GRPC_UDS is well where it can be made, bad in a folder that is not there and where somebody else listens."""
    free, nowhere = str(tmp_path / "s"), str(tmp_path / "none" / "s")
    only(await looked(ports.check, case(GRPC_UDS=free)), f"unix:{free} is free", Level.OK)
    only(await looked(ports.check, case(GRPC_UDS=nowhere)), "cannot be created", Level.BAD)
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(free)
        stranger.listen()
        only(await looked(ports.check, case(GRPC_UDS=free)), "not by a ratelimitd", Level.BAD)
    assert Path(free).is_socket()


async def test_an_admin_api_for_everybody():
    """A token that crosses the network in plain text is a warning, one that stays on the host is none."""
    env = {"ADMIN_TOKEN": "0123456789abcdef", "ADMIN_REMOTE": "true"}
    only(await looked(ports.check, case(**{**env, "DEBUG_HOST": "0.0.0.0"})), "plain text", Level.WARN)
    assert levels(await looked(ports.check, case(**env))) == {Level.OK}


async def test_an_address_that_is_not_ours():
    """An address of no interface of this host is bad."""
    only(await looked(ports.check, case(HOST="192.0.2.1")), "cannot listen on 192.0.2.1", Level.BAD)


GATEWAY = """\
listen: 127.0.0.1:{port}
upstreams: {{app: {{endpoints: ["http://127.0.0.1:9"]}}}}
routes: [{{upstream: app}}]
policies:
  domain: d
  descriptors: []
"""


async def test_the_ports_of_a_gateway(tmp_path):
    """Of a gateway file the ports of the proxy and of DEBUG_PORT are looked at; with --with-service the others too."""
    file, number = tmp_path / "gateway.yaml", free_port()
    file.write_text(GATEWAY.format(port=number))
    gateway = await read(str(file))
    alone = await looked(ports.check, case(str(file))._replace(gateway=gateway))
    both = await looked(ports.check, case(str(file), with_service=True)._replace(gateway=gateway))

    assert [each.found for each in alone] == [f"proxy 127.0.0.1:{number} is free", "debug 127.0.0.1:0 is free"]
    assert len(both) == 4


@pytest.mark.process
def test_the_service_beside_a_gateway_makes_room(tmp_path):
    """Doctor looks at the port that the service takes instead of its default, which is an upstream's."""
    file = tmp_path / "gateway.yaml"
    file.write_text(GATEWAY.format(port=0).replace("http://127.0.0.1:9", "http://127.0.0.1:8080"))
    done = doctor("--config", str(file), "--with-service", PORT=None)
    assert "HTTP 127.0.0.1:8090" in done.output
    assert "HTTP 127.0.0.1:8080" in doctor("--config", str(file), "--with-service", PORT="8080").output


@pytest.mark.process
def test_errors_of_a_gateway(tmp_path):
    """A gateway file with an error is bad, with its line."""
    file = tmp_path / "gateway.yaml"
    file.write_text(GATEWAY.format(port=0).replace("upstream: app", "upstream: nobody"))
    done = doctor("--config", str(file))

    assert done.exit_code == 1
    assert "gateway.yaml" in done.output
    assert "(line 3)" in done.output


@extension_only
async def test_the_fast_transport(monkeypatch):
    """Where it was not built, auto is a warning, and asking for it is bad."""
    only(await looked(process.check, case()), "nghttp2, the fast transport", Level.OK)
    monkeypatch.setattr(process, "nghttp2_available", lambda: False)
    only(await looked(process.check, case()), "not built", Level.WARN)
    only(await looked(process.check, case(TRANSPORT="nghttp2")), "not built", Level.BAD)


async def test_files_that_may_be_open(monkeypatch):
    """A hard limit below what callers, Redis and the process take is a warning; the start raises the soft one."""

    def limit(hard):
        return lambda _: (256, hard)

    monkeypatch.setattr(resource, "getrlimit", limit(707))
    at = case(REDIS_URL="r:1", REDIS_POOL_SIZE="10")
    only(await looked(process.check, at), "hard limit of open files is 707", Level.OK)
    monkeypatch.setattr(resource, "getrlimit", limit(706))
    assert (
        "LimitNOFILE=707" in only(await looked(process.check, at), "hard limit of open files is 706", Level.WARN).change
    )


async def test_memory_of_the_container(monkeypatch):
    """The same sum as at the start, and the same advice."""
    at = case()
    for mib, level in ((4096, Level.OK), (300, Level.WARN)):
        monkeypatch.setattr(process, "memory_limit", lambda mib=mib: mib << 20)
        found = only(await looked(process.check, at), f"in the worst case, and this process has {mib}", level)
        assert ("raise the memory limit to" in found.change) == (level is Level.WARN)


async def test_files_that_the_start_reads(tmp_path):
    """TLS files and the token's are tried as the start would."""
    files = tls_files(tmp_path)
    tls = {"GRPC_SERVER_USE_TLS": "true", "GRPC_SERVER_TLS_CERT": str(files.server_certificate)}
    good_key, bad_key = str(files.server_key), str(files.client_key)

    found = await looked(process.check, case(**tls, GRPC_SERVER_TLS_KEY=good_key))
    only(found, "can be used", Level.OK)
    only(await looked(process.check, case(**tls, GRPC_SERVER_TLS_KEY=bad_key)), "TLS of gRPC", Level.BAD)
    only(await looked(process.check, case(ADMIN_TOKEN_FILE=str(tmp_path / "none"))), "ADMIN_TOKEN_FILE", Level.BAD)


async def test_tracing_without_what_it_needs(monkeypatch):
    """As the start would: the extra has to be installed, and the variables of the exporter have to be right."""
    env = {"TRACING_ENABLED": "true"}
    only(await looked(process.check, case(**env)), "spans are sent to http://localhost:4318", Level.OK)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")
    only(await looked(process.check, case(**env)), "spans cannot be sent", Level.BAD)
    monkeypatch.delitem(sys.modules, "ratelimitd.tracing.otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    found = await looked(process.check, case(**env))
    assert "install the extra `otel`" in only(found, "spans cannot be sent", Level.BAD).change
