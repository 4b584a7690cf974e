"""Errors of the gateway's own say why, in the access log and in the body."""

import json

import pytest

from ratelimitd.gateway.proxy import ERRORS, PUBLIC
from ratelimitd.limiter import Failure, FailureKind
from ratelimitd.stores.memory import MemoryStore
from tests.app.proxying import proxying
from tests.app.test_gateway_effects import limited, refusing, serving  # noqa: F401 -- a fixture
from tests.http1.rig import ScriptedUpstream, get, post

IDENTITY = {
    "routes": [{"rate_limits": [{"actions": [{"request_headers": {"header_name": "x-k", "descriptor_key": "k"}}]}]}],
    "policies": {"domain": "d", "identity": {"key": "k", "tiers": {"t": ["a"]}}, "descriptors": [{"key": "k"}]},
}


def detail_of(answer):
    """The body without what every error has."""
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert set(body) >= {"error", "message", "request_id"}
    return {name: body[name] for name in body.keys() - {"error", "message", "request_id"}}


CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("request_", "status", "why"),
    [
        (get(b"/a%2Fb"), 400, "the path contains an escaped slash, backslash or NUL"),
        (get(b"/a%"), 400, "the path contains a percent sign without two hex digits"),
        (get(b"/a\\b"), 400, "the path contains a backslash, or a character that must be percent-encoded"),
        (get(b"/..;x/"), 400, "the path contains a dot segment with parameters"),
        (get(b"/", b"X-K: a", b"X-K: b"), 400, "the header x-k is there more than once"),
        (get(b"/none"), 404, "no route matches the request"),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 405, "CONNECT"),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            400,
            "Host, Content-Length, Transfer-Encoding or Expect more than once",
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 01\r\n\r\n", 400, "malformed Content-Length"),
        (post(b"x" * 101), 413, "request body is too large"),
        (CHUNKED + b"zz", 400, "request body: malformed chunk size"),
        (get(b"/" + b"x" * 200), 414, "request target is too long"),
        (get(b"/", b"X: " + b"y" * 2000), 431, "request head is too long"),
        (get(b"/", b"Expect: x"), 417, "unknown expectation"),
        (b"XYZZY / HTTP/1.1\r\nHost: a\r\n\r\n", 501, "unknown method"),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "HTTP version is neither 1.0 nor 1.1"),
    ],
)
async def test_a_rejected_request_is_told_why(serving, request_, status, why):  # noqa: F811 -- the fixture
    """The body has the reason as ``detail``, beside what it always had, and so has the access log."""
    bounds = {"max_target": 150, "max_head": 1024, "max_body": 100}
    routes = [{**IDENTITY["routes"][0], "match": {"regex": "/(a|\\\\.)?.{0,1}|/x+"}}]
    async with serving(**{**IDENTITY, "routes": routes}, limits=bounds) as front:
        found, answer = await front.ask(request_)
    assert (found, detail_of(answer)) == (status, {"detail": why})
    assert [each.error for each in front.handled] in ([why], [])  # a head that is no request is reported by the server
    error = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (error["error"], error["message"]) == ERRORS.get(status, ("error", "the request could not be handled"))


async def test_an_upstream_that_fails_is_told_without_its_address(tmp_path):
    """Refused, closed early, malformed, and too late: reasons of their own, which name no address."""
    upstream = ScriptedUpstream()
    answers = iter([b"", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", None])

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        text = next(answers)
        if text is not None:
            writer.write(text)
            writer.close()

    upstream.serve(answer)
    await upstream.start()
    keys = {"breaker": False, "response_timeout": "500ms"}
    upstreams = {"app": {"url": f"http://127.0.0.1:{upstream.port}", **keys}, "gone": {"url": refusing(), **keys}}
    routes = [{"match": {"path": "/gone"}, "upstream": "gone"}, {"upstream": "app"}]
    async with proxying(tmp_path, upstreams=upstreams, routes=routes) as front:
        found = [await front.ask(get(path)) for path in (b"/gone", b"/", b"/", b"/")]
    await upstream.stop()
    wanted = [
        (502, "cannot connect to the upstream: it refuses"),
        (502, "upstream closed the connection before it answered"),
        (502, "response: invalid character in Content-Length"),
        (504, "upstream did not answer"),
    ]
    assert [(status, detail_of(answer)["detail"]) for status, answer in found] == wanted
    assert [(each.status, each.error) for each in front.handled] == wanted


class Away(MemoryStore):
    def charge(self, asks, now, done):
        for ask in asks:
            ask.outcomes = [Failure(FailureKind.TIMEOUT, "no answer") for _ in ask.outcomes]
        done(asks)


@pytest.mark.parametrize("details", [False, True])
async def test_a_lost_store_is_told_with_its_limit_only_where_the_file_says_so(serving, monkeypatch, details):  # noqa: F811
    """The log says which limit failed; the body names it with ``error_details`` alone."""
    monkeypatch.setattr("tests.app.proxying.MemoryStore", Away)
    async with serving(**limited(), error_details=details) as front:
        status, answer = await front.ask(get())
    [record] = front.handled
    why = "store away (timeout), failed by on_store_failure: error (limit d.remote_address)"
    assert (status, record.error) == (503, why)
    assert detail_of(answer) == {"detail": why if details else PUBLIC["store_failure"]}
