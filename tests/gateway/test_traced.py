"""Spans of proxied requests, by a real process with a real collector, and what the upstream gets of a trace."""

import asyncio

import aiohttp
import pytest

from testkit.collector import collector
from tests.gateway_process import FILE, gateway, upstream

pytestmark = pytest.mark.process

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
W3C = f"00-{TRACE}-{SPAN}-01"
FLAGS = {"TRACING_ENABLED": "true"}


def file(folder, url, limit=100):
    path = folder / "gateway.yaml"
    path.write_text(FILE.format(url=url, limit=limit, policy="allow"))
    return str(path)


async def get(running, path="/api/x?token=canary", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.ClientSession(f"http://{running.proxy}") as client, client.get(path, headers=named) as answer:
        return answer.status, await answer.json()


def lowered(headers):
    return {name.lower(): value for name, value in headers.items()}


async def spans(running, received, count):
    found = await received.has(count)
    return sorted(found, key=lambda span: span.kind == "CLIENT")


@pytest.fixture
async def traced(tmp_path):
    """A proxy that traces, in front of an application, with 2 requests per hour; and its collector."""
    async with collector("http") as received, upstream() as (url, _):
        env = {**FLAGS, "OTEL_EXPORTER_OTLP_ENDPOINT": received.endpoint}
        async with gateway(file(tmp_path, url, 2), env=env) as running:
            yield running, received, url


async def test_a_request_is_two_spans_of_its_trace(traced):
    """The server's is a child of the caller's, the client's of the server's, and the upstream gets the client's."""
    running, received, url = traced
    status, seen = await get(running, traceparent=W3C, tracestate="a=1", baggage="k=canary", x_user="canary")
    server, client = await spans(running, received, 2)
    port = int(running.proxy.rpartition(":")[2])
    assert status == 200
    assert (server.kind, server.name, server.trace_id, server.parent_id) == ("SERVER", "GET", TRACE, SPAN)
    assert (client.kind, client.name, client.trace_id, client.parent_id) == ("CLIENT", "GET", TRACE, server.span_id)
    got = lowered(seen["headers"])
    assert got["traceparent"] == f"00-{TRACE}-{client.span_id}-01"
    assert (got["tracestate"], got["baggage"]) == ("a=1", "k=canary")
    assert server.attributes == {
        "http.request.method": "GET",
        "network.protocol.version": "1.1",
        "url.scheme": "http",
        "url.path": "/api/x",
        "server.address": server.attributes["server.address"],
        "server.port": port,
        "http.response.status_code": 200,
        "ratelimitd.domain": "d",
        "ratelimitd.decision": "ok",
        "ratelimitd.limit": "d.all_api",
        "ratelimitd.route": "/api/",
    }
    assert client.attributes == {
        "http.request.method": "GET",
        "network.protocol.version": "1.1",
        "url.full": f"{url}/api/x",
        "server.address": "127.0.0.1",
        "server.port": int(url.rpartition(":")[2]),
        "http.response.status_code": 200,
    }
    assert server.began <= client.began <= client.ended <= server.ended
    assert (server.status, client.status) == ("UNSET", "UNSET")
    assert "canary" not in str(received.spans)


async def test_a_trace_is_begun_and_passed_on(traced):
    """Without a parent, or with one that is malformed, which is replaced, and its tracestate with it."""
    running, received, _ = traced
    for headers in ({}, {"traceparent": "garbage", "tracestate": "a=1"}):
        received.spans.clear()
        _, seen = await get(running, **headers)
        server, client = await spans(running, received, 2)
        got = lowered(seen["headers"])
        assert server.parent_id == ""
        assert got["traceparent"] == f"00-{server.trace_id}-{client.span_id}-01"
        assert "tracestate" not in got


async def test_b3_is_passed_on_in_its_form(traced):
    """A reader of B3 alone finds the client span too, not the caller's."""
    running, received, _ = traced
    _, seen = await get(running, b3=f"{TRACE}-{SPAN}-1")
    _, client = await spans(running, received, 2)
    assert lowered(seen["headers"])["b3"] == f"{TRACE}-{client.span_id}-1"
    received.spans.clear()
    _, seen = await get(running, x_b3_traceid=TRACE, x_b3_spanid=SPAN, x_b3_sampled="1", x_b3_parentspanid="0" * 16)
    _, client = await spans(running, received, 2)
    got = lowered(seen["headers"])
    assert (got["x-b3-traceid"], got["x-b3-spanid"], got["x-b3-sampled"]) == (TRACE, client.span_id, "1")
    assert "x-b3-parentspanid" not in got


async def test_a_denial_has_no_client_span(traced):
    """Nothing was asked of the upstream; 429 is the caller's error, not the server's."""
    running, received, _ = traced
    assert [(await get(running))[0] for _ in range(3)] == [200, 200, 429]
    found = await received.has(5)
    (denied,) = [span for span in found if span.attributes.get("http.response.status_code") == 429]
    assert (denied.kind, denied.status) == ("SERVER", "UNSET")
    expected = {"ratelimitd.decision": "over_limit", "ratelimitd.limit": "d.all_api", "ratelimitd.reason": "over_limit"}
    assert denied.attributes.items() >= expected.items()
    assert "error.type" not in denied.attributes


async def test_a_trace_that_is_not_sampled_passes_as_it_came(traced):
    """Every byte of it, and without a span."""
    running, received, _ = traced
    given = {"traceparent": f"00-{TRACE}-{SPAN}-00", "tracestate": "a=1", "b3": "0"}
    _, seen = await get(running, **given)
    assert given.items() <= lowered(seen["headers"]).items()
    await get(running)
    assert {span.trace_id for span in await received.has(2)}.isdisjoint({TRACE})


async def test_what_the_rate_leaves_out_is_passed_on_as_such(tmp_path):
    """The upstream gets a trace that is not sampled, so that it decides alike."""
    async with collector("http") as received, upstream() as (url, _):
        env = {**FLAGS, "OTEL_EXPORTER_OTLP_ENDPOINT": received.endpoint, "TRACING_SAMPLING_RATE": "0"}
        async with gateway(file(tmp_path, url), env=env) as running:
            _, seen = await get(running)
            running.terminate()
            await running.ended()
    assert lowered(seen["headers"])["traceparent"].endswith("-00")
    assert received.spans == []


async def test_without_tracing_headers_pass_unchanged(tmp_path):
    """And nothing is added."""
    given = {"traceparent": W3C, "tracestate": "a=1", "b3": f"{TRACE}-{SPAN}-1", "baggage": "k=v"}
    async with upstream() as (url, _), gateway(file(tmp_path, url)) as running:
        assert given.items() <= lowered((await get(running, **given))[1]["headers"]).items()
        assert "traceparent" not in lowered((await get(running))[1]["headers"])


async def test_an_upstream_that_fails_is_an_error_of_both(tmp_path):
    """502 of the gateway: the client span has no status code, since no response came; the error is in words."""
    async with collector("http") as received:
        env = {**FLAGS, "OTEL_EXPORTER_OTLP_ENDPOINT": received.endpoint}
        async with gateway(file(tmp_path, "http://127.0.0.1:9"), env=env) as running:
            assert (await get(running))[0] == 502
            server, client = await spans(running, received, 2)
    assert (server.status, server.attributes["error.type"]) == ("ERROR", "502")
    assert (client.status, client.attributes["error.type"]) == ("ERROR", "incomplete")
    assert "http.response.status_code" not in client.attributes
    assert "cannot connect to the upstream" in client.message
    assert server.message == client.message


@pytest.mark.parametrize(("code", "server_status", "client_status"), [(404, "UNSET", "ERROR"), (500, "ERROR", "ERROR")])
async def test_statuses_are_errors_by_the_conventions(tmp_path, code, server_status, client_status):
    """4xx is an error of the client's side alone, 5xx of both."""
    async with collector("http") as received:

        async def answer(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\n{}" % code)
            await writer.drain()
            writer.close()

        app = await asyncio.start_server(answer, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{app.sockets[0].getsockname()[1]}"
        env = {**FLAGS, "OTEL_EXPORTER_OTLP_ENDPOINT": received.endpoint}
        async with app, gateway(file(tmp_path, url), env=env) as running:
            async with aiohttp.ClientSession(f"http://{running.proxy}") as session, session.get("/api/") as got:
                assert got.status == code
            server, client = await spans(running, received, 2)
    assert (server.status, client.status) == (server_status, client_status)
    assert client.attributes["error.type"] == str(code)
    assert client.attributes["http.response.status_code"] == server.attributes["http.response.status_code"] == code


async def test_a_client_that_leaves_is_an_incomplete_request(tmp_path):
    """No status was sent; the span is an error, and says so."""
    async with collector("http") as received:
        asked = asyncio.Event()

        async def silent(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            asked.set()
            await reader.read()
            writer.close()

        app = await asyncio.start_server(silent, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{app.sockets[0].getsockname()[1]}"
        env = {**FLAGS, "OTEL_EXPORTER_OTLP_ENDPOINT": received.endpoint}
        async with app, gateway(file(tmp_path, url), env=env) as running:
            host, _, port = running.proxy.rpartition(":")
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET /api/ HTTP/1.1\r\nHost: a\r\n\r\n")
            await asked.wait()
            writer.close()
            server, client = await spans(running, received, 2)
    for span in (server, client):
        assert (span.status, span.attributes["error.type"]) == ("ERROR", "incomplete")
        assert "http.response.status_code" not in span.attributes


async def test_a_request_without_a_route_is_a_span(traced):
    """404 without a decision."""
    running, received, _ = traced
    assert (await get(running, "/other"))[0] == 404
    (server,) = await received.has(1)
    assert server.attributes["http.response.status_code"] == 404
    assert not [name for name in server.attributes if name.startswith("ratelimitd.")]
