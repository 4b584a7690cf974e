"""CORS, encoded slashes, the Host of an upstream and TLS to it are the same through both."""

import asyncio
import re
import ssl
from contextlib import asynccontextmanager

import pytest
import trustme
from aiohttp import web

from tests.http1.rig import End

from .files import generic, unit, written
from .twins import twins

pytestmark = [pytest.mark.envoy, pytest.mark.process]

APP = "https://app.example.org"
OF_CORS = re.compile(rb"(?i)\r\n(access-control-[a-z-]+|vary): ([^\r]*)")


@asynccontextmanager
async def upstream(tls=None):
    """An application with a CORS policy of its own, which says what it was asked."""

    async def answer(request):
        said = {
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Allow-Credentials": "true",
            "Access-Control-Expose-Headers": "X-Up",
            "Vary": "Accept-Encoding",
        }
        forwarded = request.headers.get("X-Forwarded-Host")
        return web.Response(text=f"{request.raw_path} {request.headers['Host']} {forwarded}", headers=said)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield "{}:{}".format(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()


def file(folder, app):
    """Routes of every kind of origin; each path is limited to one request, but /free."""

    def route(match, cors, name="once"):
        return {"match": match, "rate_limits": [{"actions": [generic("of", name)]}], "cors": cors, "upstream": "app"}

    origins = [APP, "http://localhost:*", "https://*.example.com", {"regex": "https://pr-[0-9]+\\.example\\.net"}]
    routes = [
        route({"path": "/any"}, {"origins": ["*"]}, "free"),
        route({"path": "/own"}, {"origins": [APP], "credentials": True}, "free"),
        route({"path": "/by-method", "methods": ["GET"]}, {"origins": ["https://reader"]}, "free"),
        route({"path": "/by-method", "methods": ["PUT", "M-SEARCH"]}, {"origins": [APP]}, "free"),
        route(
            {"prefix": "/"},
            {
                "origins": origins,
                "methods": ["GET", "PUT"],
                "headers": ["X-A"],
                "max_age": "10m",
                "expose_headers": ["B"],
            },
        ),
    ]
    literal = [{"match": {"prefix": f"/{name}/"}, "upstream": name} for name in ("rewritten", "literal", "each")]
    slash = [{"match": {"path": "/a%2Fb"}, "upstream": "app"}, {"match": {"prefix": "/free/"}, "upstream": "app"}]
    urls = {"url": f"http://{app}"}
    upstreams = {
        "app": urls,
        "rewritten": {**urls, "host": "rewrite"},
        "literal": {**urls, "host": "other.example:81"},
        "each": {"endpoints": [f"http://{app}", f"http://{app.replace('127.0.0.1', 'localhost')}"], "host": "rewrite"},
    }
    gateway = {
        "listen": "127.0.0.1:0",
        "encoded_slash": "keep",
        "upstreams": upstreams,
        "routes": [*literal, *slash, *routes],
        "policies": "policy.yaml",
    }
    rate = {"unit": unit(), "requests_per_unit": 1, "algorithm": "fixed_window"}
    limits = [{"key": "of", "value": "once", "rate_limit": rate}, {"key": "of", "value": "free"}]
    return written(folder, gateway, {"domain": "d", "descriptors": limits})


async def answered(url, method, path, *lines):
    """Send one request; returns the status, its headers of CORS as lists, and the body."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    end = End(*await asyncio.open_connection(host, int(port)))
    head = [f"{method} {path} HTTP/1.1", "Host: front.example", *lines, "", ""]
    answer, body = await end.ask("\r\n".join(head).encode())
    end.close()
    found = {}
    for name, value in OF_CORS.findall(answer):
        found.setdefault(name.lower().decode(), []).extend(value.decode().replace(" ", "").split(","))
    return int(answer.split()[1]), found, body.decode()


ORIGINS = (
    APP, "https://APP.example.org", f"{APP}.evil.org", "https://evil.example", "null", "http://localhost:5173",
    "http://localhost", "https://a.b.example.com", "https://example.com", "https://pr-12.example.net", "",
)  # fmt: skip
PUT = "Access-Control-Request-Method: PUT"
CASES = [
    *(
        (method, path, f"Origin: {origin}", *more)
        for path in ("/any", "/own", "/by-method")
        for origin in ORIGINS[:4]
        for method, *more in (("GET",), ("PUT",), ("OPTIONS",), ("OPTIONS", PUT))
    ),
    ("GET", "/any"),
    ("OPTIONS", "/any", PUT),
    ("OPTIONS", "/any", f"Origin: {APP}", "Access-Control-Request-Method: "),
    ("OPTIONS", "/any", f"Origin: {APP}", PUT, "Access-Control-Request-Headers: x-b"),
    *(("OPTIONS", "/by-method", f"Origin: {APP}", f"Access-Control-Request-Method: {asked}")
      for asked in ("GET", "M-SEARCH", "DELETE", "put")),
    *(("OPTIONS", "/limited", f"Origin: {origin}", PUT) for origin in ORIGINS),
    *(("GET", "/limited", f"Origin: {origin}") for origin in ORIGINS),
    ("OPTIONS", "/by-method", PUT),
]  # fmt: skip


async def test_pages_of_other_origins_are_treated_alike(tmp_path):
    """Preflights, other requests, denials: status, the headers of CORS, and whether the upstream was asked."""
    async with upstream() as app, twins(*file(tmp_path, app), tmp_path, [{}, {}]) as urls:
        found = [await asyncio.gather(*(answered(url, *case) for url in urls)) for case in CASES]
    wrong = [(case, *pair) for case, pair in zip(CASES, found, strict=True) if seen(pair[0]) != seen(pair[1])]
    assert not wrong, "\n".join(map(str, wrong))
    preflights = [ours for case, (ours, _) in zip(CASES, found, strict=True) if "OPTIONS" in case and not ours[2]]
    assert len([1 for ours in preflights if ours[0] == 200]) > 8
    denied = [ours for ours, _ in found if ours[0] == 429]
    assert {"access-control-allow-origin" in headers for _, headers, _ in denied} == {True, False}
    assert all(
        "Retry-After" in headers.get("access-control-expose-headers", ["Retry-After"]) for _, headers, _ in denied
    )


def seen(answer):
    status, headers, body = answer
    return status, headers, body if status == 200 else ""


async def test_the_upstream_gets_the_same_host_and_path(tmp_path):
    """Rewritten, literal, of one endpoint or each; X-Forwarded-Host is the client's; %2F stays as it was written."""
    targets = [
        "/rewritten/",
        "/literal/",
        "/a%2Fb",
        "/a%2fb",
        "/free/%2f/y",
        "/free/x%2Fy/%7e",
        "/free/%2F",
        *["/each/"] * 12,
    ]
    async with upstream() as app, twins(*file(tmp_path, app), tmp_path, [{}, {}]) as urls:
        each = []
        for target in targets:
            (ours, theirs) = [(await answered(url, "GET", target))[2].split() for url in urls]
            if target == "/each/":
                each.append((ours[1], theirs[1]))
                continue
            assert ours[1:] == theirs[1:]
            assert (ours[0].replace("%7e", "~"), ours[2]) == (theirs[0], "front.example"), target
    for one in zip(*each, strict=True):
        assert set(one) == {app, app.replace("127.0.0.1", "localhost")}


async def test_a_certificate_is_verified_by_the_same_keys(tmp_path):
    """By ``ca``, or with ``verify: false`` not at all; by other authorities, or for another name, it is refused."""
    authority, other = trustme.CA(), trustme.CA()
    contexts = [ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in "12"]
    authority.issue_cert("localhost").configure_cert(contexts[0])
    authority.issue_cert("elsewhere").configure_cert(contexts[1])
    for name, made in (("ca", authority), ("other", other)):
        made.cert_pem.write_to_path(tmp_path / f"{name}.pem")
    ca = {"ca": str(tmp_path / "ca.pem")}
    async with upstream(contexts[0]) as right, upstream(contexts[1]) as wrong:
        ports = [address.rpartition(":")[2] for address in (right, wrong)]
        cases = [(0, ca), (0, {"verify": False}), (1, {"verify": False}), (0, {}), (1, ca),
                 (0, {"ca": str(tmp_path / "other.pem")})]  # fmt: skip
        upstreams = {
            f"u{number}": {"url": f"https://localhost:{ports[which]}", "host": "rewrite", **keys}
            for number, (which, keys) in enumerate(cases)
        }
        routes = [{"match": {"path": f"/{name}"}, "upstream": name} for name in upstreams]
        gateway = {"listen": "127.0.0.1:0", "upstreams": upstreams, "routes": routes, "policies": "policy.yaml"}
        async with twins(*written(tmp_path, gateway, {"domain": "d"}), tmp_path, [{}, {}]) as urls:
            found = [[await answered(url, "GET", f"/{name}") for url in urls] for name in upstreams]
    assert [[status == 200 for status, _, _ in pair] for pair in found] == [[True] * 2] * 3 + [[False] * 2] * 3
    for (which, _), pair in zip(cases[:3], found, strict=False):
        assert [body.split()[1] for _, _, body in pair] == [f"localhost:{ports[which]}"] * 2
