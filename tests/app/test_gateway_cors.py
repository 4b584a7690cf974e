"""CORS of a route, from the text of the file to the sockets: which origins may read, and what is counted."""

import re

import pytest

from tests.app.proxying import application, proxying
from tests.http1.rig import ScriptedUpstream, get

PAGE = b"Origin: https://app.example.org"
OTHER = b"Origin: https://evil.example"
EXPOSED = "X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Retry-After, X-Request-Id"
CORS = {"origins": ["https://app.example.org"]}


def limited(*, allowed, cors=CORS, **match):
    """A route with CORS, and a limit of all its requests."""
    return {
        "routes": [{"match": match, "rate_limits": [{"actions": [{"remote_address": {}}]}], "cors": cors}],
        "policies": {
            "domain": "d",
            "descriptors": [{"key": "remote_address", "rate_limit": {"unit": "hour", "requests_per_unit": allowed}}],
        },
    }


def preflight(method=b"PUT", origin=PAGE, *more):
    return get(b"/", origin, b"Access-Control-Request-Method: " + method, *more).replace(b"GET", b"OPTIONS", 1)


def header(answer, name):
    """All values of a header, in one list."""
    head = answer.partition(b"\r\n\r\n")[0]
    return ", ".join(each.decode() for each in re.findall(rb"(?i)\r\n%b: ([^\r]*)" % name, head))


def allowed(answer):
    return header(answer, b"Access-Control-Allow-Origin")


@pytest.fixture
def serving(tmp_path):
    def serve(url, **file):
        return proxying(tmp_path, upstreams={"app": {"url": url}}, **file)

    return serve


async def test_preflights_of_an_allowed_origin_are_answered_and_not_counted(serving):
    """The gateway answers them, whatever is left of the limit, and the upstream does not see them."""
    cors = {**CORS, "max_age": "10m", "methods": ["GET", "PUT"], "headers": ["X-A"], "expose_headers": ["X-Total"]}
    async with application() as url, serving(url, **limited(allowed=1, cors=cors)) as front:
        answers = [await front.ask(preflight()) for _ in range(3)]
        assert [status for status, _ in answers] == [200, 200, 200]
        shown = {name: header(answers[0][1], b"Access-Control-" + name) for name in (
            b"Allow-Origin", b"Allow-Methods", b"Allow-Headers", b"Max-Age", b"Expose-Headers", b"Allow-Credentials"
        )}  # fmt: skip
        assert list(shown.values()) == [
            "https://app.example.org", "GET, PUT", "X-A", "600", f"{EXPOSED}, X-Total", ""
        ]  # fmt: skip
        assert b"app OPTIONS" not in answers[0][1]
        assert [(await front.ask(get()))[0] for _ in range(2)] == [200, 429]


async def test_all_other_requests_are_counted(serving):
    """A preflight of another origin or of none, and an OPTIONS that is no preflight: limited, and forwarded."""
    requests = [
        preflight(origin=OTHER),
        preflight(origin=b"X-Origin: a"),
        preflight(origin=b"Origin: https://app.example.org:444"),
        preflight(b""),
        get(b"/", PAGE).replace(b"GET", b"OPTIONS", 1),
        get(b"/", PAGE, b"Access-Control-Request-Method: PUT"),
    ]
    async with application() as url, serving(url, **limited(allowed=len(requests))) as front:
        for request in requests:
            status, answer = await front.ask(request)
            assert (status, b"app " in answer) == (200, True)
        assert (await front.ask(preflight(origin=OTHER)))[0] == 429
        assert (await front.ask(preflight()))[0] == 200


async def test_a_script_can_read_a_denial(serving):
    """A 429 carries the allowed origin and what is exposed; to another origin it carries neither. Vary is on both."""
    async with application() as url, serving(url, **limited(allowed=0)) as front:
        for origin, told in ((PAGE, ("https://app.example.org", EXPOSED)), (OTHER, ("", ""))):
            status, answer = await front.ask(get(b"/", origin))
            assert status == 429
            assert (allowed(answer), header(answer, b"Access-Control-Expose-Headers")) == told
            assert header(answer, b"Vary") == "Origin"
            assert int(header(answer, b"Retry-After")) > 0


CHUNK = b"\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("request_", "limits", "upstream", "status"),
    [
        (get(b"/", PAGE), {}, "http://127.0.0.1:1", 502),
        (get(b"/", PAGE).replace(b"GET", b"POST").replace(b"\r\n\r\n", CHUNK + b"9\r\n123456789\r\n"),
         {"max_body": 3}, None, 413),
        (get(b"/", PAGE).replace(b"GET", b"POST").replace(b"\r\n\r\n", CHUNK + b"x"),
         {}, None, 400),
    ],
    ids=["upstream", "too large", "malformed"],
)  # fmt: skip
async def test_a_script_can_read_every_error_of_a_route(serving, request_, limits, upstream, status):
    """Also errors that the gateway makes itself once the route is known."""
    silent = await ScriptedUpstream().start()
    try:
        url = upstream or f"http://127.0.0.1:{silent.port}"
        async with serving(url, limits=limits, routes=[{"cors": CORS}]) as front:
            found, answer = await front.ask(request_)
            assert (found, allowed(answer)) == (status, "https://app.example.org")
            assert header(answer, b"Access-Control-Expose-Headers") == EXPOSED
    finally:
        await silent.stop()


SAYS = (
    b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n"
    b"Access-Control-Expose-Headers: X-Up\r\nVary: Accept-Encoding\r\nContent-Length: 2\r\n\r\nok"
)


@pytest.mark.parametrize(
    ("cors", "origin", "told"),
    [
        (CORS, PAGE, ("https://app.example.org", "", EXPOSED, "Accept-Encoding, Origin")),
        ({**CORS, "credentials": True}, PAGE, ("https://app.example.org", "true", EXPOSED, "Accept-Encoding, Origin")),
        (CORS, OTHER, ("", "", "", "Accept-Encoding, Origin")),
        (CORS, b"X-A: b", ("", "", "", "Accept-Encoding, Origin")),
        (None, OTHER, ("*", "true", "X-Up", "Accept-Encoding")),
    ],
)
async def test_the_route_speaks_for_the_upstream(serving, cors, origin, told):
    """The upstream's own CORS headers do not pass where the route has ``cors``, also to origins it does not allow."""
    upstream = await ScriptedUpstream().start()
    try:
        async with serving(f"http://127.0.0.1:{upstream.port}", routes=[{"cors": cors}]) as front:
            client = await front.client()
            await client.send(get(b"/", origin))
            end = await upstream.accept()
            await end.until()
            await end.send(SAYS)
            head, _ = await client.answer()
    finally:
        await upstream.stop()
    names = (b"Access-Control-Allow-Origin", b"Access-Control-Allow-Credentials", b"Access-Control-Expose-Headers")
    assert tuple(header(head, name) for name in (*names, b"Vary")) == told


@pytest.mark.parametrize(
    ("origins", "yes", "no"),
    [
        (["*"], ["https://a", "null"], []),
        (["http://localhost:*"], ["http://localhost:5173"], ["http://localhost", "http://localhost:1.evil.org"]),
        (["https://*.example.org"], ["https://a.b.example.org"], ["https://example.org", "https://evilexample.org",
         "http://a.example.org", "https://a.example.org.evil.org", "https://evil.org/.example.org"]),
        ([{"regex": "https://pr-[0-9]+\\.example\\.org"}], ["https://pr-7.example.org"], ["https://pr-7.example.org.evil"]),
        (["http://[::1]:3000", "https://b"], ["http://[::1]:3000", "https://b"], ["https://B", "https://b:443"]),
    ],
)  # fmt: skip
async def test_origins_are_compared_whole(serving, origins, yes, no):
    """By text, by a label or a port that may be any, or by an expression."""
    async with application() as url, serving(url, routes=[{"cors": {"origins": origins}}]) as front:
        for origin in yes:
            assert allowed((await front.ask(get(b"/", b"Origin: " + origin.encode())))[1]) == origin
        for origin in no:
            assert allowed((await front.ask(get(b"/", b"Origin: " + origin.encode())))[1]) == ""


async def test_a_preflight_belongs_to_the_route_of_the_request_it_asks_for(serving):
    """Of routes by method, the one that matches the method it asks for, whether its origin is allowed there or not."""
    routes = [
        {"name": "read", "match": {"methods": ["GET"]}, "cors": {"origins": ["https://reader"]}},
        {"name": "write", "match": {"methods": ["PUT", "POST"]}, "cors": CORS},
        {"name": "rest"},
    ]
    async with application() as url, serving(url, routes=routes) as front:
        answers = [await front.ask(preflight(method)) for method in (b"GET", b"PUT", b"DELETE")]
        await front.ask(get(b"/", PAGE).replace(b"GET", b"OPTIONS", 1))
    assert [allowed(answer) for _, answer in answers] == ["", "https://app.example.org", ""]
    assert [each.route for each in front.handled] == ["read", "write", "rest", "rest"]
