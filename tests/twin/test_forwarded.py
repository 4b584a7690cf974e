"""What an upstream reads of a request is what the limits have read of it, here and in Envoy."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from .files import TRUSTED, generic, unit, written
from .twins import twins

pytestmark = [pytest.mark.envoy, pytest.mark.process, pytest.mark.slow]

END = b"\r\n\r\n"


@asynccontextmanager
async def echo():
    """An upstream that answers with the bytes of the request."""

    async def serve(reader, writer):
        got = await reader.readuntil(END)
        if b"chunked" in got:
            got += await reader.readuntil(b"0\r\n") + await reader.readuntil(b"\r\n")
            while not got.endswith(END):
                got += await reader.readuntil(b"\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"%x\r\n%b\r\n0\r\nX-RateLimit-Limit: 9\r\nRetry-After: 9\r\nX-Sum: 9\r\n\r\n" % (len(got), got))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield "{}:{}".format(*server.sockets[0].getsockname())


async def sent(url, head, body=b"", sender="127.0.0.2"):
    """Send a request; returns the status, and what follows the head of the response."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), local_addr=(sender, 0))
    writer.write(head + END + body)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, rest = answer.partition(END)
    return int(head.split()[1]), rest


def read(header, key):
    """A route below /KEY with a limit by a header; requests without it have one of their own."""
    by = {"request_headers": {"header_name": header, "descriptor_key": key, "skip_if_absent": True}}
    return {"match": {"prefix": f"/{key}"}, "rate_limits": [{"actions": [generic("of", "read"), by]}]}


READ = [read("x-forwarded-for", "for"), read("x-forwarded-proto", "proto"), read("x-own-key", "own")]


@pytest.fixture
async def urls(tmp_path):
    """Both twins, with a limit by each of two headers: one of two lines that Envoy joins, one that it does not."""
    rate = {"unit": unit(), "requests_per_unit": 1, "algorithm": "fixed_window"}
    limits = [{"key": key, "rate_limit": rate} for key in ("auth", "own", "q")]
    below = [{"key": key, "rate_limit": rate} for key in ("for", "proto", "own")]
    limits.append({"key": "of", "value": "read", "rate_limit": rate, "descriptors": below})
    by = {"auth": "authorization", "own": "x-own-key"}
    actions = [{"request_headers": {"header_name": name, "descriptor_key": key}} for key, name in by.items()]
    actions.append({"query_parameters": {"query_parameter_name": "q", "descriptor_key": "q"}})
    async with echo() as app:
        gateway = {
            "listen": "127.0.0.1:0",
            "upstreams": {"app": {"url": f"http://{app}"}},
            "trusted_proxies": TRUSTED,
            "routes": [*READ, {"rate_limits": [{"actions": [action]} for action in actions]}],
            "policies": "policy.yaml",
        }
        made = written(tmp_path, gateway, {"domain": "twin", "descriptors": limits})
        async with twins(*made, tmp_path, [{}, {}]) as both:
            yield both


def get(*lines, target=b"/"):
    return b"\r\n".join((b"GET " + target + b" HTTP/1.1", b"Host: a", b"Connection: close", *lines))


NAMES = {
    b"X_Forwarded_For": False,
    b"X.Forwarded.Proto": False,
    b"X-Forwarded_Port": False,
    b"X_Request_Id": False,
    b"X_Own_Key": False,
    b"X-Own.Key": False,
    b"X_Real_IP": False,
    b"Proxy_Authorization": False,
    b"X_Other": True,
    b"X.Other": True,
}
CLAIMED = (b"X-Real-IP", b"True-Client-IP", b"Client-IP", b"X-Original-URL", b"X-Forwarded-Port", b"CF-Connecting-IP")


@pytest.mark.parametrize(("sender", "trusted"), [("127.0.0.1", True), ("127.0.0.2", False)])
async def test_a_name_that_programs_read_as_another_one_is_dropped(urls, sender, trusted):
    """X_Forwarded_For of anybody; X-Real-IP and its like of a peer that is not trusted. Other names are forwarded."""
    wanted = {**NAMES, **dict.fromkeys(CLAIMED, trusted)}
    for url in urls:
        status, got = await sent(url, get(*(name + b": said" for name in wanted)), sender=sender)
        assert status == 200
        assert {name: name.lower() + b": said" in got.lower() for name in wanted} == wanted, url


async def test_no_trailer_of_a_request_is_forwarded(urls):
    """Neither what a head is cleaned of, nor what Connection nominates, nor another; and to the client none of ours."""
    head = get(b"Connection: x-hop", b"TE: trailers", b"Authorization: one", b"Transfer-Encoding: chunked")
    head = head.replace(b"GET", b"POST")
    trailers = b"X-Sum: tail\r\nX-Forwarded-For: tail\r\nX-API-Key: tail\r\nX-Hop: tail\r\n"
    for url, forwards in zip(urls, (True, False), strict=True):
        status, got = await sent(url, head, b"2\r\nhi\r\n0\r\n" + trailers + b"\r\n")
        assert (status, b"hi" in got, b"tail" in got) == (200, True, False), url
        assert b"X-RateLimit-Limit: 9".lower() not in got.lower()
        assert b"retry-after: 9" not in got.lower()
        assert (b"X-Sum: 9" in got) == forwards, url


@pytest.mark.parametrize("name", [b"Authorization", b"Content-Type", b"Origin", b"User-Agent"])
async def test_a_second_line_is_refused_here_and_joined_by_envoy(urls, name):
    """So each upstream reads one value, which is the one that was counted."""
    proxy, envoy = urls
    lines = (name + b": one", name + b": two")
    assert (await sent(proxy, get(*lines)))[0] == 400
    status, got = await sent(envoy, get(*lines))
    assert (status, name.lower() + b": one,two" in got.lower()) == (200, True)


@pytest.mark.parametrize(
    "head",
    [get(b"X-Own-Key: one", b"X-Own-Key: two"), get(target=b"/?q=one&q=two"), get(target=b"/?q=one&%71=two")],
    ids=["header", "parameter", "escaped"],
)
async def test_a_second_value_that_counts_is_refused_here_and_forwarded_by_envoy(urls, head):
    """Envoy counts the first; `ratelimitd envoy` says so."""
    assert [(await sent(url, head))[0] for url in urls] == [400, 200]


@pytest.mark.parametrize(
    ("target", "lines"),
    [
        (b"/for", [b"X-Forwarded-For: 192.0.2.%d"]),
        (b"/proto", [b"X-Forwarded-Proto: p%d"]),
        (b"/own", [b"X-Own-Key: k%d", b"Connection: X-Own-Key"]),
    ],
    ids=["address", "scheme", "nominated"],
)
async def test_a_header_that_the_upstream_does_not_get_counts_for_nothing(urls, target, lines):
    """Invented addresses of a client that is not trusted, and keys that its Connection takes away, have one counter."""
    for url in urls:
        heads = [get(*(line % turn if b"%" in line else line for line in lines), target=target) for turn in (1, 2)]
        assert [(await sent(url, head))[0] for head in heads] == [200, 429], url
