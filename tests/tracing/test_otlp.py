"""OTLP to a real collector: what arrives of a span, and what the variables of the exporter do."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest
import requests
from aiohttp import web
from aiohttp.test_utils import TestServer

from ratelimitd.tracing import Kind, Sampler, extract
from ratelimitd.tracing.bounded import ANSWER
from ratelimitd.tracing.otlp import SLICE, OtlpError
from ratelimitd.tracing.otlp import collector as address
from testkit.collector import collector
from tests.tracing.making import PARENT, SERVICE, TRACE, otlp, span

PATIENCE = 30.0
"""Seconds until a test that waits fails."""


def no_rest(_):
    """Go on at once."""


async def sent(made, spans):
    return await asyncio.get_running_loop().run_in_executor(None, made.send, spans, no_rest)


@pytest.fixture(params=["http", "grpc"])
def protocol(request):
    return request.param


async def test_a_span_arrives(protocol, monkeypatch):
    """With its ids, times, attributes, error and resource; the flags say that the parent is another process's."""
    async with collector(protocol) as received:
        made = otlp(protocol, received, monkeypatch)
        assert await sent(made, [span(3, text="x", yes=True), span(2, Kind.CLIENT, "broken")]) == ""
        made.stop()
    server, client = received.spans
    assert (server.trace_id, server.span_id, server.parent_id) == (TRACE, f"{3:016x}", PARENT)
    assert (server.name, server.kind, server.began, server.ended) == ("name", "SERVER", 1_000, 2_000)
    assert (server.attributes, server.status, server.state) == ({"text": "x", "yes": True}, "UNSET", "a=1,b=2")
    assert server.flags & 0x300 == 0x300
    assert (client.kind, client.status, client.message) == ("CLIENT", "ERROR", "broken")
    assert server.resource.items() >= SERVICE.items()
    assert server.scope == "ratelimitd"


async def test_resource_attributes_are_added(monkeypatch):
    """OTEL_RESOURCE_ATTRIBUTES adds some; TRACING_SERVICE_NAME goes before its service.name, as upstream's does."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "zone=a,service.name=other")
    async with collector("http") as received:
        made = otlp("http", received, monkeypatch)
        await sent(made, [span()])
        made.stop()
    assert received.spans[0].resource.items() >= {**SERVICE, "zone": "a"}.items()


async def test_headers_are_sent(protocol, monkeypatch):
    """Those of OTEL_EXPORTER_OTLP_HEADERS, with each export."""
    async with collector(protocol) as received:
        made = otlp(protocol, received, monkeypatch, HEADERS="x-token=secret,x-b=2")
        await sent(made, [span()])
        made.stop()
    assert received.headers[0].items() >= {"x-token": "secret", "x-b": "2"}.items()


@pytest.mark.parametrize("compression", ["gzip", "none", ""])
async def test_compression(protocol, compression, monkeypatch):
    """gzip, none, or not set: the spans arrive; over HTTP the header shows it."""
    async with collector(protocol) as received:
        made = otlp(protocol, received, monkeypatch, COMPRESSION=compression)
        assert await sent(made, [span()]) == ""
        made.stop()
    assert len(received.spans) == 1
    if protocol == "http":
        assert received.headers[0].get("content-encoding") == ("gzip" if compression == "gzip" else None)


@pytest.mark.parametrize("name", ["TIMEOUT", "TRACES_TIMEOUT"])
async def test_a_timeout_is_in_milliseconds(protocol, name, monkeypatch):
    """As the specification and envoyproxy/ratelimit have it: a collector that hangs is given up after it."""
    async with collector(protocol) as received:
        received.answers.clear()
        made = otlp(protocol, received, monkeypatch, **{"TIMEOUT": "600000", name: "300"})
        async with asyncio.timeout(PATIENCE):
            assert await sent(made, [span()]) != ""
        made.stop()


@pytest.mark.slow
async def test_a_collector_that_is_away_has_a_reason(protocol, monkeypatch):
    """That of the first attempt, with the address; what came of it follows."""
    async with collector(protocol) as gone:
        pass
    made = otlp(protocol, gone, monkeypatch, TIMEOUT="2500")
    assert "127.0.0.1" in await sent(made, [span()])
    made.stop()


async def test_a_reason_has_no_value_of_a_caller(monkeypatch):
    """OpenTelemetry logs an invalid tracestate as it came; it is neither told nor does it hide the cause."""
    context = extract({"traceparent": [f"00-{TRACE}-{PARENT}-01".encode()], "tracestate": [b"a secret"]})
    async with collector("http") as received:
        received.refuses = True
        made = otlp("http", received, monkeypatch, TIMEOUT="1")
        reason = await sent(made, [span()._replace(context=Sampler(1.0).begin(context))])
        made.stop()
    assert "Failed to export" in reason
    assert "secret" not in reason


@asynccontextmanager
async def collector_of(answer):
    """A collector that answers as this handler does."""
    application = web.Application()
    application.router.add_post("/v1/traces", answer)
    async with TestServer(application) as server:
        yield str(server.make_url(""))


async def endless(request):
    """Answer as an endpoint that streams."""
    response = web.StreamResponse()
    with suppress(ConnectionError):
        await response.prepare(request)
        for _ in range(1_000):
            await response.write(bytes(ANSWER))
    return response


async def broken(request):
    """Answer less than was announced."""
    response = web.StreamResponse(headers={"Content-Length": "9"})
    await response.prepare(request)
    request.transport.close()
    return response


@pytest.mark.parametrize("answer", [endless, broken])
async def test_an_answer_is_read_up_to_a_bound(answer, monkeypatch):
    """The status alone counts; by default OpenTelemetry keeps all of an answer, 60 MiB here."""
    async with collector_of(answer) as endpoint:
        made = otlp("http", endpoint, monkeypatch)
        read, whole = [], requests.Session.request

        def watched(*arguments, **options):
            response = whole(*arguments, **options)
            read.append(response.raw)
            return response

        monkeypatch.setattr(requests.Session, "request", watched)
        assert await sent(made, [span()]) == ""
        made.stop()
    assert [raw.tell() <= ANSWER and raw.closed for raw in read] == [True]


async def redirected(request):
    """Answer as an ingress that wants TLS."""
    return web.Response(status=308, headers={"Location": str(request.url.with_path("/elsewhere"))})


async def test_a_redirect_is_a_failure(monkeypatch):
    """Nobody has taken the spans, and OpenTelemetry takes it for success."""
    async with collector_of(redirected) as endpoint:
        made = otlp("http", endpoint, monkeypatch)
        assert "308: the endpoint is a redirect" in await sent(made, [span()])
        made.stop()


async def test_each_failure_has_a_reason(protocol, monkeypatch):
    """Also one that is as the one before it, which the exporter over gRPC does not repeat by itself."""
    async with collector(protocol) as gone:
        pass
    made = otlp(protocol, gone, monkeypatch, TIMEOUT="100")
    reasons = [await sent(made, [span()]) for _ in range(2)]
    made.stop()
    assert all(reason.startswith("Failed to export") for reason in reasons)


@pytest.mark.parametrize("value", ["soon", "0", "-1"])
def test_a_wrong_timeout_is_an_error(value, monkeypatch):
    """It names the variable and what to write."""
    with pytest.raises(OtlpError, match=rf'OTEL_EXPORTER_OTLP_TIMEOUT="{value}": .*; write 10000'):
        otlp("http", "http://localhost:1", monkeypatch, TIMEOUT=value)


def test_what_the_library_rejects_is_an_error(monkeypatch):
    """Any error of making an exporter is one text."""
    monkeypatch.setenv("OTEL_PYTHON_EXPORTER_OTLP_GRPC_CREDENTIAL_PROVIDER", "nothing")
    with pytest.raises(OtlpError, match=r"OTEL_EXPORTER_OTLP_\*: .*'nothing' not found"):
        otlp("grpc", "https://localhost:1", monkeypatch)


async def test_encoding_rests(monkeypatch):
    """After each slice of spans, so that the event loop gets Python; three times as long as the slice took."""
    rests = []
    async with collector("http") as received:
        made = otlp("http", received, monkeypatch)
        spans = [span(number) for number in range(1, 2 * SLICE + 2)]
        await asyncio.get_running_loop().run_in_executor(None, made.send, spans, rests.append)
        made.stop()
    assert len(received.spans) == len(spans)
    assert len(rests) == 2
    assert all(rest > 0 for rest in rests)


@pytest.mark.parametrize(
    ("protocol", "environ", "shown"),
    [
        ("http", {}, "http://localhost:4318"),
        ("grpc", {}, "http://localhost:4317"),
        ("grpc", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:1"}, "http://a:1"),
        ("grpc", {"OTEL_EXPORTER_OTLP_ENDPOINT": "a", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "b"}, "b"),
    ],
)
def test_the_address_for_the_log(protocol, environ, shown):
    """The one of traces goes before that of all signals."""
    assert address(protocol, environ) == shown
