"""What the settings may take in memory, and what a start in a small container says."""

import asyncio
import os
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ratelimitd.admin import port_bytes
from ratelimitd.app import proxy, serve
from ratelimitd.app.http import page_bodies
from ratelimitd.app.memory import (
    CONNECTION_BYTES,
    GRPC_CLIENT_BYTES,
    IDLE_BYTES,
    MIB,
    TLS_BYTES,
    TRACING_BYTES,
    fitted,
    grpc_connections,
    policy_bytes,
    shares,
    shortage,
    total,
    warn_of_memory,
)
from ratelimitd.gateway import read_gateway
from ratelimitd.observe.output import BATCH_BYTES, QUEUE_BYTES
from ratelimitd.settings import load
from ratelimitd.sources import OVERLAY_BYTES, named
from ratelimitd.transport.nghttp2 import Nghttp2Options
from tests.service import service

CA = {"GRPC_SERVER_USE_TLS": "true", "GRPC_SERVER_TLS_CERT": "c", "GRPC_SERVER_TLS_KEY": "k"}
ROOT = Path(__file__).parents[2]


def settings(**env):
    return load(env, {})


def part(name, memory=4096, policy=0, **env):
    """The MiB of one part; -1 if there is none."""
    sizes = [each.bytes for each in shares(settings(**env), memory * MIB, policy) if each.name == name]
    return sum(sizes) / MIB if sizes else -1


@pytest.mark.parametrize(
    ("memory", "counters", "buffered"),
    [(8192, 256, 256), (2048, 256, 256), (1024, 256, 128), (512, 256, 64), (256, 128, 32)],
)
def test_sizes_that_were_not_set_fit_the_container(memory, counters, buffered):
    """Counters have half of it at most, messages an eighth, and both no more than 256 MiB."""
    found = fitted(settings(), memory * MIB)
    assert (found.memory_max_bytes, found.grpc_max_buffered_bytes) == (counters * MIB, buffered * MIB)


def test_sizes_that_were_set_stay():
    """An operator may know better, and is told of the sum."""
    found = fitted(settings(MEMORY_MAX_BYTES="1GiB", GRPC_MAX_BUFFERED_BYTES="300MiB"), 256 * MIB)
    assert (found.memory_max_bytes, found.grpc_max_buffered_bytes) == (1 << 30, 300 * MIB)


@pytest.mark.parametrize("edge", [serve, proxy], ids=["serve", "proxy"])
def test_both_edges_start_with_sizes_that_fit(monkeypatch, edge):
    """The process itself counts in as much as the sum says."""
    started = []
    monkeypatch.setattr(edge, "memory_limit", lambda: 256 * MIB)
    monkeypatch.setattr(edge, "live", lambda given, _: started.append(given))
    if edge is serve:
        serve.run(settings(), ())
    else:
        proxy.run(settings(), None, with_service=True)
    assert [each.memory_max_bytes for each in started] == [128 * MIB]


@pytest.mark.parametrize(
    ("memory", "env", "connections"),
    [
        (4096, {}, Nghttp2Options._field_defaults["max_connections"]),
        (512, {}, 120 * MIB // CONNECTION_BYTES),
        (512, CA, 120 * MIB // (CONNECTION_BYTES + TLS_BYTES)),
    ],
)
def test_connections_have_a_quarter_of_the_container(memory, env, connections):
    """Less what the live view takes; as many as the transport allows where there is room. With TLS each takes five
    times as much.
    """
    assert grpc_connections(settings(**env), memory * MIB) == connections


SERIES = "metric series that requests make, or of limits that are gone"


@pytest.mark.parametrize(
    ("name", "env", "mib"),
    [
        ("counters in memory", {"MEMORY_MAX_BYTES": "100MiB"}, 100),
        ("counters in memory", {"REDIS_URL": "h:1"}, -1),
        ("the live view", {"LIVE_MAX_BYTES": "3MiB"}, 3),
        ("the live view", {"LIVE_MAX_BYTES": "0"}, -1),
        ("counters while Redis is away", {"REDIS_URL": "h:1"}, 30),
        ("lines of the log that are not read", {}, 0.3125),
        ("table of known keys", {}, 16),
        ("table of known keys", {"NEW_KEYS_PER_SECOND": "0"}, -1),
        ("settlements that wait", {"SETTLEMENTS_KEPT": "0"}, 0),
        ("settlements that wait", {"SETTLEMENTS_KEPT": str(MIB)}, 1000 * 700 / MIB),
        ("settlements that wait", {"SETTLEMENTS_KEPT": str(MIB), "REDIS_URL": "r:1"}, (1000 + MIB) * 700 / MIB),
        ("over-limit cache", {"LOCAL_CACHE_SIZE_IN_BYTES": "7MiB"}, 7),
        (SERIES, {"REQUEST_MADE_SERIES": "0"}, 1000 * (420 + 700) / MIB),
        ("incomplete requests over gRPC", {"GRPC_MAX_BUFFERED_BYTES": "40MiB"}, 40),
        ("incomplete requests over gRPC", {"GRPC_MAX_BUFFERED_BYTES": "1MiB", "MAX_REQUEST_BYTES": "1MiB"}, 4),
        ("requests in flight over gRPC", {"GRPC_MAX_BUFFERED_BYTES": "40MiB"}, 10),
        ("unread responses over gRPC", {"GRPC_MAX_BUFFERED_BYTES": "40MiB"}, 20),
        ("messages of grpcio", {"TRANSPORT": "grpcio", "STORE_IN_FLIGHT": "80"}, 10),
        ("calls in flight, besides their requests", {"STORE_IN_FLIGHT": "2048"}, 3),
    ],
)
def test_each_part_follows_its_setting(name, env, mib):
    """The sum has the bounds that the parts themselves have."""
    assert part(name, **env) == mib


def test_http_ports_count_with_what_they_take():
    """A third port for Prometheus, and the largest body of /json; the debug port alone where no service is."""
    assert page_bodies(settings(MAX_REQUEST_BYTES="1MiB")) == [1 << 20, 8 << 10]
    assert len(page_bodies(settings(USE_PROMETHEUS="true"))) == 3
    alone = shares(settings(), 1024 * MIB, 0, serves=False)
    assert [each.bytes for each in alone if each.name.startswith("connections of the HTTP")] == [port_bytes()]
    assert not [each for each in alone if "gRPC" in each.name]


def test_a_policy_counts_in_the_process_and_in_the_child():
    """Twenty times the size of its files, and 54 times in the child that parses it."""
    empty, mebibyte = (total(shares(settings(), 1024 * MIB, size)) for size in (0, MIB))
    assert mebibyte - empty == 74 * MIB


def test_an_overlay_counts_in_the_child():
    """It is read there, whole."""
    more = total(shares(settings(POLICY_OVERLAY="o"), 1024 * MIB, 0)) - total(shares(settings(), 1024 * MIB, 0))
    assert more == 54 * OVERLAY_BYTES


def test_the_idle_process_is_the_measured_one():
    """No less than docs/performance.md says, and not far above."""
    page = (ROOT / "docs/performance.md").read_text()
    for transport, served_by in (("nghttp2", "ratelimitd"), ("grpcio", "grpcio")):
        size = IDLE_BYTES[transport]
        (row,) = (line for line in page.splitlines() if line.startswith(f"| in memory | {served_by} |"))
        measured = float(row.split("|")[3].split()[0])
        assert measured <= size / MIB <= measured + 2


def test_a_shortage_has_numbers_and_what_to_change():
    """The sum, the container, the largest parts; and the size that suffices, although larger buffers come with it."""
    short = shortage(settings(), 512 * MIB, MIB)
    needed = -(-total(shares(settings(), 512 * MIB, MIB)) // MIB)
    assert short.found.startswith(f"the settings may take {needed} MiB in the worst case")
    assert "this process has 512: counters in memory 256," in short.found
    assert "MEMORY_MAX_BYTES" in short.change
    enough = int(short.change.partition("memory limit to ")[2].split()[0])
    assert shortage(settings(), enough * MIB, MIB) is None
    assert shortage(settings(), (enough - 1) * MIB, MIB) is not None


def test_the_policy_is_measured_by_its_files(tmp_path):
    """All files of a folder; a path that is not there has none."""
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_bytes(bytes(1_000))
    assert policy_bytes(named((str(tmp_path),))) == 2_000
    assert policy_bytes(named((str(tmp_path / "none"),))) == 0


def test_a_container_that_is_too_small_is_one_warning(tmp_path):
    """With what to change; a container that suffices is no line."""
    source = named((str(tmp_path),))
    with capture_logs() as logs:
        warn_of_memory(settings(), 8192 * MIB, source)
        warn_of_memory(settings(), 300 * MIB, source)
    (line,) = logs
    assert line["log_level"] == "warning"
    assert "this process has 300:" in line["event"]
    assert "raise the memory limit to" in line["change"]


@contextmanager
def cgroup(limit):
    """A real cgroup with this limit; skipped where the system permits none."""
    v1 = Path("/sys/fs/cgroup/memory")
    folder = (v1 if v1.is_dir() else Path("/sys/fs/cgroup")) / f"ratelimitd-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    try:
        try:
            (folder / ("memory.limit_in_bytes" if v1.is_dir() else "memory.max")).write_text(str(limit))
        except OSError as error:
            pytest.skip(f"a cgroup has no limit of memory here: {error}")
        yield folder
    finally:
        folder.rmdir()


@pytest.mark.process
async def test_a_start_in_a_small_cgroup_warns_once(tmp_path, monkeypatch):
    """A real process in a real cgroup of 300 MiB says so, and serves."""
    (tmp_path / "policy.yaml").write_text("domain: d\n")
    with cgroup(300 * MIB) as folder:
        wrapper = tmp_path / "python"
        wrapper.write_text(f'#!/bin/sh\necho $$ > {folder}/cgroup.procs\nexec {sys.executable} "$@"\n')
        wrapper.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(wrapper))
        async with service("--config", str(tmp_path)) as running:
            told = [line["@message"] for line in running.log if "in the worst case" in line["@message"]]
        async with asyncio.timeout(10):
            while (folder / "cgroup.procs").read_text():
                await asyncio.sleep(0.01)
    (line,) = told
    assert "this process has 300: counters in memory 150, gRPC connections 71," in line


def test_the_proxy_has_memory_for_tls():
    """Each connection of a client adds what TLS adds to one of gRPC, also while it is silent in its handshake."""

    head = "upstreams: {a: {url: 'http://b'}}\nroutes: [{upstream: a}]\npolicies: p\n"

    def size(tls):
        gateway = read_gateway("gateway.yaml", f"{head}{tls}".encode())
        found = shares(settings(), 4096 * MIB, 0, gateway, serves=False)
        return next(each.bytes for each in found if each.name == "requests of the proxy")

    connections = read_gateway("gateway.yaml", head.encode()).limits.max_connections
    assert size("tls: {cert: c, key: k}\n") - size("") == connections * TLS_BYTES


@pytest.mark.parametrize(("admin", "metrics"), [("", 3 * MIB), ("admin: {port: 9090}\n", 0)])
def test_the_proxy_has_memory_for_its_access_log_and_for_metrics_on_its_listener(admin, metrics):
    """stdout has a queue beside that of stderr; of the metrics on the listener, one page is kept and two are sent."""
    head = "upstreams: {a: {url: 'http://b'}}\nroutes: [{upstream: a}]\npolicies: p\n"
    gateway = read_gateway("gateway.yaml", f"{head}{admin}".encode())
    found = {each.name: each.bytes for each in shares(settings(), 4096 * MIB, 0, gateway, serves=False)}
    assert found["lines of the log that are not read"] == sum(QUEUE_BYTES.values()) + 2 * BATCH_BYTES
    assert found.get("metrics on the listener of the proxy", 0) == metrics


@pytest.mark.parametrize(
    ("env", "more"),
    [
        ({}, TRACING_BYTES),
        ({"TRACING_EXPORTER_PROTOCOL": "grpc"}, TRACING_BYTES + GRPC_CLIENT_BYTES),
        ({"TRACING_EXPORTER_PROTOCOL": "grpc", "TRANSPORT": "grpcio"}, TRACING_BYTES),
        ({"TRACING_EXPORTER_PROTOCOL": "grpc", "CONFIG_TYPE": "GRPC_XDS_SOTW"}, TRACING_BYTES),
    ],
)
def test_tracing_takes_memory(env, more):
    """The SDK and the queue of spans; grpcio too, unless it is there already."""
    env = {"TRANSPORT": "nghttp2", **env}
    sizes = [total(shares(settings(TRACING_ENABLED=on, **env), 1024 * MIB, 0)) for on in ("false", "true")]
    assert sizes[1] - sizes[0] == more


@pytest.mark.parametrize(("transport", "more"), [("nghttp2", GRPC_CLIENT_BYTES), ("grpcio", 0)])
def test_a_control_plane_has_a_client(transport, more):
    """grpcio is in memory once, whatever uses it."""
    sizes = [
        total(shares(settings(TRANSPORT=transport, **env), 1024 * MIB, 0))
        for env in ({}, {"CONFIG_TYPE": "GRPC_XDS_SOTW"})
    ]
    assert sizes[1] - sizes[0] == more
