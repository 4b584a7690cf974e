"""Requests that a browser sends for a page of another site: which are refused, without a socket."""

import json

import pytest

from ratelimitd.admin.http import Access, Page, PageRequest, PageResponse
from ratelimitd.admin.pages import debug_pages, gateway_pages, metrics_pages, service_pages
from ratelimitd.admin.server import respond
from ratelimitd.admin.wire import HeaderValues
from ratelimitd.observe.health import Health

LOOPBACK, ELSEWHERE = "127.0.0.1", "192.0.2.7"


async def answered(_):
    return PageResponse(200, b"answered")


async def ask(access, peer, hosts=(), method="POST", **headers):
    """The status of a page for a request with these headers, and the text of its error."""
    given = HeaderValues([(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()])
    request = PageRequest(method, "/", {}, given, b"", peer)
    response = await respond({"/": Page(answered, "", access)}, request, hosts)
    return response.status, "" if response.status == 200 else json.loads(response.body)["error"]


@pytest.mark.parametrize("access", [Access.READS, Access.CHANGES])
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8080", 200),
        ("LOCALHOST:8080", 200),
        ("localhost.", 200),
        ("limits.localhost:8080", 200),
        ("127.0.0.1:8080", 200),
        ("127.8.8.8", 200),
        ("[::1]:8080", 200),
        ("[::1]", 200),
        ("10.0.0.5:6070", 200),
        ("[2001:db8::7]:6070", 200),
        ("", 200),
        ("evil.example", 421),
        ("evil.example:8080", 421),
        ("localhost.evil.example", 421),
        ("notlocalhost", 421),
        ("127.0.0.1.evil.example", 421),
        ("2130706433", 421),
        ("ratelimit", 421),
        ("[evil.example]", 421),
    ],
)
async def test_on_loopback_host_is_a_name_of_this_host(access, host, status):
    """After DNS rebinding it is the name of another site; an address cannot be rebound."""
    assert (await ask(access, LOOPBACK, host=host))[0] == status


@pytest.mark.parametrize("peer", [LOOPBACK, "127.0.0.6", "::1", "::ffff:127.0.0.1"])
async def test_the_error_says_what_to_send(peer):
    """And the setting that lets a name of a proxy on this host pass; in HTTP/1.0 without Host there is none."""
    status, error = await ask(Access.CHANGES, peer, host="ratelimit:8080")
    assert (status, "localhost" in error, "HTTP_ALLOWED_HOSTS" in error) == (421, True, True)
    assert (await ask(Access.CHANGES, peer, {"ratelimit"}, host="Ratelimit:8080"))[0] == 200
    assert (await ask(Access.CHANGES, peer))[0] == 200


@pytest.mark.parametrize("peer", [ELSEWHERE, "2001:db8::7", ""])
async def test_elsewhere_any_host_is_one(peer):
    """A service has names that it does not know."""
    assert (await ask(Access.CHANGES, peer, host="ratelimit.example:8080"))[0] == 200


@pytest.mark.parametrize("peer", [LOOPBACK, ELSEWHERE])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"sec_fetch_site": "same-origin", "origin": "http://localhost:8080"}, 200),
        ({"sec_fetch_site": "none"}, 200),
        ({"origin": "http://localhost:8080"}, 200),
        ({"origin": "HTTPS://LOCALHOST:8080"}, 200),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "Cross-Site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"sec_fetch_site": "new-value"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://localhost:3000"}, 403),
        ({"origin": "http://localhost"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"sec_fetch_site": "same-origin", "origin": "http://evil.example"}, 403),
    ],
)
async def test_nothing_changes_for_a_page_of_another_site(peer, method, headers, status):
    """Not for one of another port of this host either; other clients send neither header."""
    assert (await ask(Access.CHANGES, peer, method=method, host="localhost:8080", **headers))[0] == status


async def test_the_error_of_a_browser_says_why():
    """It names the headers, and what a client sends that is no browser."""
    _, error = await ask(Access.CHANGES, ELSEWHERE, host="limits:8080", origin="http://evil.example")
    assert ("Origin" in error, "Sec-Fetch-Site" in error) == (True, True)


async def test_an_origin_without_a_host_is_another():
    """In HTTP/1.0 there is none to compare."""
    assert (await ask(Access.CHANGES, LOOPBACK, origin="null"))[0] == 403


async def test_a_link_of_another_site_may_be_followed():
    """To a page that is only read: a browser does not show its response to the other site."""
    assert (await ask(Access.READS, LOOPBACK, host="localhost:6070", sec_fetch_site="cross-site"))[0] == 200


async def test_probes_and_metrics_are_for_all():
    """They say nothing that is worth a check, and a kubelet, a sidecar or Prometheus may send any Host."""
    headers = {"host": "pod.evil.example", "origin": "http://evil.example", "sec_fetch_site": "cross-site"}
    assert (await ask(Access.OPEN, LOOPBACK, **headers))[0] == 200


def test_only_probes_and_metrics_are_for_all():
    """On every port; and a page that says nothing of it is one that changes something."""

    async def chunks():
        yield b""

    async def decide(_):
        return None

    health = Health()
    tables = [
        service_pages(health, health, tuple, decide, chunks),
        debug_pages(lambda: None, chunks, {"/admin/key": Page(answered, "")}),
        gateway_pages(health, tuple, chunks),
        metrics_pages("/there", chunks),
    ]
    paths = {access: set() for access in Access}
    for table in tables:
        for path, page in table.items():
            paths[page.access].add(path)
    assert paths == {
        Access.OPEN: {"/healthcheck", "/livez", "/readyz", "/healthz", "/metrics", "/there"},
        Access.READS: {"/", "/rlconfig", "/stats"},
        Access.CHANGES: {"/json", "/admin/key"},
    }
