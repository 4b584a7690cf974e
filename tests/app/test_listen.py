"""Which gRPC transport a start takes, and what it says of it."""

import pytest
from structlog.testing import capture_logs

from ratelimitd.app import listen
from ratelimitd.app.memory import CONNECTION_BYTES
from ratelimitd.settings import load
from ratelimitd.transport import Handlers
from ratelimitd.transport.api import ignore
from testkit.builds import extension_only


@pytest.mark.parametrize(
    ("transport", "built", "warnings"),
    [
        ("auto", False, 1),
        pytest.param("auto", True, 0, marks=extension_only),
        ("grpcio", False, 0),
        ("grpcio", True, 0),
    ],
)
async def test_a_slow_transport_that_nobody_chose_is_one_warning(monkeypatch, transport, built, warnings):
    """Where the fast one was not built, auto says how much slower it is and what to install; a choice says nothing."""
    monkeypatch.setattr(listen, "nghttp2_available", lambda: built)
    environ = {"GRPC_HOST": "127.0.0.1", "GRPC_PORT": "0", "TRANSPORT": transport, "TRUSTED_PEERS": "10.0.0.0/8"}
    settings = load(environ, {})
    with capture_logs() as logs:
        serving = listen.grpc_server(settings, Handlers({}, {}), ignore, 77)
    assert serving.transport == ("nghttp2" if transport == "auto" and built else "grpcio")
    if serving.transport == "nghttp2":
        assert serving.server._options.trusted_peers == ("10.0.0.0/8",)
    assert serving.places is None if serving.transport == "grpcio" else serving.places.bounds.total == 77
    assert [line["log_level"] for line in logs] == ["warning"] * warnings
    assert all("19 times slower" in line["event"] and "libnghttp2-dev" in line["change"] for line in logs)
    await serving.server.start()
    await serving.server.stop(0)


@extension_only
async def test_the_transport_has_the_bounds_of_the_settings_and_of_the_container(monkeypatch):
    """GRPC_MAX_BUFFERED_BYTES bounds its messages; a quarter of a small container its connections and the live view."""
    monkeypatch.setattr(listen, "memory_limit", lambda: 64 << 20)
    env = {"GRPC_HOST": "127.0.0.1", "GRPC_PORT": "0", "TRANSPORT": "nghttp2", "GRPC_MAX_BUFFERED_BYTES": "9MiB"}
    serving = listen.grpc_server(load(env, {}), Handlers({}, {}), ignore, 10_000)
    options = serving.server._options
    assert (options.max_buffered_bytes, options.max_connections) == (9 << 20, (8 << 20) // CONNECTION_BYTES)
    await serving.server.start()
    await serving.server.stop(0)
