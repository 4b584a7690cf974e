"""A process that traces: its spans at a real collector, and what its start, its end and its metrics say."""

import asyncio
import re
import sys
from types import SimpleNamespace

import pytest
from grpc import aio
from structlog.testing import capture_logs

from ratelimitd.app import serve, tracing
from ratelimitd.app.engine import build
from ratelimitd.app.life import StartError
from ratelimitd.app.listen import Serving
from ratelimitd.app.service import RunningService
from ratelimitd.gateway import Proxy
from ratelimitd.gateway.proxy import ProxiedRequest
from ratelimitd.observe.health import Health
from ratelimitd.observe.logs import MASK
from ratelimitd.settings import load
from ratelimitd.tracing import Exporter, Sampler, Tracer
from testkit.collector import collector
from tests.app.test_process import SHOULD_RATE_LIMIT, Request, call, get
from tests.service import service
from tests.tracing.making import span

pytestmark = pytest.mark.process

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
POLICY = "domain: d\ndescriptors: [{key: user, rate_limit: {unit: day, requests_per_unit: 100}}]\n"


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return str(path)


def tracing_env(received, protocol="http", **more):
    return {
        "TRACING_ENABLED": "true",
        "TRACING_EXPORTER_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_ENDPOINT": received.endpoint,
        **more,
    }


async def ask(address, *metadata):
    request = Request(domain="d")
    request.descriptors.add().entries.add(key="user", value="x")
    async with aio.insecure_channel(address) as channel:
        await channel.unary_unary(SHOULD_RATE_LIMIT)(request.SerializeToString(), metadata=metadata, timeout=10)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("transport", ["nghttp2", "grpcio"])
async def test_calls_are_spans_at_the_collector(policy, protocol, transport):
    """Over either transport and either protocol; their parents are those of the metadata, in each form."""
    more = {
        "TRANSPORT": transport,
        "TRACING_SERVICE_NAME": "limits",
        "TRACING_SERVICE_NAMESPACE": "edge",
        "TRACING_SERVICE_INSTANCE_ID": "one",
    }
    parents = [
        (("traceparent", f"00-{TRACE}-{SPAN}-01"), ("tracestate", "a=1")),
        (("b3", f"{TRACE}-{SPAN}-1"),),
        (("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-sampled", "1")),
        (("baggage", "a=1"),),
        (("traceparent", "garbage"),),
    ]
    async with collector(protocol) as received:
        async with service("--config", policy, env=tracing_env(received, protocol, **more)) as running:
            assert (await running.logged("spans are sent"))["collector"] == received.endpoint
            for metadata in parents:
                await ask(running.grpc, *metadata)
            await ask(running.grpc, ("traceparent", f"00-{TRACE}-{SPAN}-00"))
            running.terminate()
            assert await running.ended() == 0
        found = received.spans
    assert [span.parent_id for span in found] == [SPAN, SPAN, SPAN, "", ""]
    assert [span.trace_id == TRACE for span in found] == [True, True, True, False, False]
    assert found[0].state == "a=1"
    assert {span.attributes["ratelimitd.limit"] for span in found} == {"d.user"}
    names = {"service.name": "limits", "service.namespace": "edge", "service.instance.id": "one"}
    assert found[0].resource.items() >= names.items()


@pytest.mark.parametrize(("rate", "count"), [("0", 1), ("1", 2)])
async def test_the_sampling_rate_decides_for_calls_without_a_parent(policy, rate, count):
    """A sampled parent is followed either way. The id of an instance is random if none is set."""
    async with collector("http") as received:
        env = tracing_env(received, TRACING_SAMPLING_RATE=rate)
        async with service("--config", policy, env=env) as running:
            await ask(running.grpc)
            await ask(running.grpc, ("traceparent", f"00-{TRACE}-{SPAN}-01"))
            running.terminate()
            await running.ended()
    assert len(received.spans) == count
    assert len(received.spans[0].resource["service.instance.id"]) == 36


async def test_a_collector_that_hangs_does_not_hold_the_end(policy):
    """The process ends with 0 within GRACEFUL_SHUTDOWN_TIMEOUT, although its exporter would wait for an hour."""
    async with collector("http") as received:
        received.answers.clear()
        more = {"OTEL_EXPORTER_OTLP_TIMEOUT": "3600000", "GRACEFUL_SHUTDOWN_TIMEOUT": "0.2"}
        async with service("--config", policy, env=tracing_env(received, **more)) as running:
            await ask(running.grpc)
            await received.asked(1)
            await ask(running.grpc)
            running.terminate()
            assert (await running.logged("spans are lost"))["spans"] == 1
            assert await running.ended() == 0


async def test_a_collector_that_is_away_costs_no_call(policy):
    """Calls are answered; it is logged once, and the spans are counted as dropped."""
    async with collector("grpc") as gone:
        pass
    more = {"OTEL_EXPORTER_OTLP_TIMEOUT": "200"}
    async with service("--config", policy, env=tracing_env(gone, "grpc", **more)) as running:
        assert await call(running.grpc) == "OK"
        line = await running.logged("spans cannot be exported")
        assert line["collector"] == gone.endpoint
        assert await call(running.grpc) == "OK"
        text = (await get(running.http, "/metrics"))[1]
        assert re.search(r'^ratelimitd_spans_dropped_total{reason="export_failed"} [12]$', text, re.MULTILINE)


def test_the_start_says_what_to_install(monkeypatch):
    """TRACING_ENABLED without the extra ends the start, with the command that installs it."""
    monkeypatch.delitem(sys.modules, "ratelimitd.tracing.otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(StartError, match=r"install the extra `otel` \(pip install 'ratelimitd\[otel\]'\)"):
        tracing.tracer_of(load({"TRACING_ENABLED": "true"}, {}))


def test_a_faulty_variable_of_the_exporter_ends_the_start(monkeypatch):
    """It is named; credentials in it are not shown."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "http://u:canary@h")
    with pytest.raises(StartError, match="OTEL_EXPORTER_OTLP_TIMEOUT") as caught:
        tracing.tracer_of(load({"TRACING_ENABLED": "true"}, {}))
    assert "canary" not in str(caught.value)


def test_credentials_of_the_endpoint_are_masked(monkeypatch):
    """In the line of the start."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://u:canary@localhost:1")
    with capture_logs() as lines:
        tracer = tracing.tracer_of(load({"TRACING_ENABLED": "true"}, {}))
    tracer.exporter._ending.set()
    tracer.exporter._due.set()
    assert "localhost:1" in lines[0]["collector"]
    assert "canary" not in str(lines)


@pytest.mark.parametrize(
    ("protocol", "variables"),
    [
        ("http", {"ENDPOINT": "http://127.0.0.1:1", "HEADERS": "x-a=b,x-key=canary%0A%20value"}),
        ("http", {"ENDPOINT": "http://127.0.0.1:1", "TRACES_HEADERS": "x-key=canary%0A%20value"}),
        ("grpc", {"ENDPOINT": "http://u:canary@localhost:1"}),
        ("grpc", {"TRACES_ENDPOINT": "http://u:canary@localhost:1"}),
    ],
)
async def test_credentials_are_masked_in_what_libraries_say(protocol, variables, monkeypatch):
    """Of a header that cannot be sent they write the value, and of an address the user and the password."""
    for name, value in {**variables, "TIMEOUT": "500"}.items():
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)
    settings = load({"TRACING_ENABLED": "true", "TRACING_EXPORTER_PROTOCOL": protocol}, {})
    exporter = tracing.exporter_of(settings)
    with capture_logs() as lines:
        await asyncio.to_thread(exporter._export, [span()])
    exporter._stop()
    assert [line["event"] for line in lines] == ["spans cannot be exported"]
    assert MASK in lines[0]["reason"]
    assert "canary" not in str(lines)


async def test_without_tracing_the_handlers_are_the_services_own(monkeypatch):
    """Decided once, at the start: a call of a process that does not trace takes the same way as ever."""
    bound = []
    monkeypatch.setattr(
        serve, "grpc_server", lambda _, handlers, *__: bound.append(handlers) or Serving(None, "", None)
    )
    settings = load({}, {})
    parts = build(settings)
    running = RunningService(settings, parts, None, Health(), Health(), Health())
    division = SimpleNamespace(grpc=1)
    for tracer in (None, Tracer(Sampler(1.0), Exporter("where", lambda spans, rest: "", lambda: None), "host")):
        serve.open_grpc(running._replace(tracer=tracer), None, SimpleNamespace(division=division, listening={}))
    plain, traced = (each.unary[SHOULD_RATE_LIMIT] for each in bound)
    assert plain == parts.service.should_rate_limit
    assert traced != plain
    assert ProxiedRequest is Proxy(parts.engine, 0, lambda: 0.0, lambda _: None)._requests


@pytest.mark.parametrize(("traced", "imported"), [(False, False), (True, True)])
async def test_a_process_without_tracing_does_not_import_it(policy, traced, imported):
    """Neither opentelemetry nor the room: an idle sidecar pays nothing for it. The start and a call import all else."""
    async with collector("http") as received:
        env = {"PYTHONPROFILEIMPORTTIME": "1", **(tracing_env(received) if traced else {})}
        async with service("--config", policy, env=env, ready=False) as running:
            await running.logged("policy loaded")
            async with asyncio.timeout(60):
                while not (started := [line for line in running.log if "transport" in line]):
                    await asyncio.sleep(0.02)
            running.grpc, running.http = started[0]["grpc"], started[0]["http"]
            assert await call(running.grpc) == "OK"
            assert ("ratelimitd_spans" in (await get(running.http, "/metrics"))[1]) is traced
            running.terminate()
            await running.ended()
    loaded = {line.rpartition("|")[2].strip() for line in running.text.splitlines()}
    assert "ratelimitd.rls.service" in loaded
    found = {
        name for name in loaded if name.startswith(("opentelemetry", "ratelimitd.tracing", "ratelimitd.rls.traced"))
    }
    assert bool(found) is imported
