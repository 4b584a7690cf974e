"""What keys of a gateway file do to requests, from the text of the file to the sockets.

The options of listener and upstreams, matches and actions are tested where they are applied; tests/keys.py says where.
"""

import json
import re
import socket
from contextlib import asynccontextmanager

import pytest

from tests.app.proxying import application, proxying
from tests.http1.rig import ScriptedUpstream, get, post


@pytest.fixture
def serving(tmp_path):
    """Serve a gateway file of these keys in front of one application, which is the upstream ``app``."""

    @asynccontextmanager
    async def serve(**file):
        async with application() as url, proxying(tmp_path, **{"upstreams": {"app": {"url": url}}, **file}) as front:
            yield front

    return serve


def refusing():
    """The URL of a port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def limited(*, allowed=2, actions=({"remote_address": {}},), **more):
    """A route that is limited by these actions, and the descriptor of its policy for each of them."""
    rule = {"unit": "hour", "requests_per_unit": allowed}
    keys = [next(iter(action)) for action in actions]
    return {
        "routes": [{"rate_limits": [{"actions": list(actions), **more}]}],
        "policies": {"domain": "d", "descriptors": [{"key": key, "rate_limit": rule} for key in keys]},
    }


def header(answer, name):
    found = re.search(rb"(?i)\r\n%b: ([^\r]*)\r\n" % name, answer)
    return found and found[1].decode()


async def test_a_route_forwards_to_its_upstream(tmp_path):
    """Of several, the upstream of the first route that matches; without a match it is 404."""
    async with application("one") as one, application("two") as two:
        routes = [{"match": {"path": "/1"}, "upstream": "a"}, {"match": {"path": "/2"}, "upstream": "b"}]
        upstreams = {"a": {"url": one}, "b": {"url": two}}
        async with proxying(tmp_path, upstreams=upstreams, routes=routes) as front:
            for path, name in ((b"/1", b"one GET /1 "), (b"/2", b"two GET /2 ")):
                status, answer = await front.ask(get(path))
                assert (status, name in answer) == (200, True)
            assert (await front.ask(get(b"/3")))[0] == 404


@pytest.mark.parametrize("file", [{}, {"underscores_in_headers": True}])
async def test_a_name_that_an_upstream_reads_as_another_is_dropped_unless_the_file_says_so(tmp_path, file):
    """X_API_Key and X_Forwarded_For do not reach the upstream, without ``underscores_in_headers``; others do."""
    end = await ScriptedUpstream().start()
    try:
        async with proxying(tmp_path, upstreams={"app": {"url": f"http://127.0.0.1:{end.port}"}}, **file) as front:
            await (await front.client()).send(get(b"/", b"X_API_Key: 1", b"X.Forwarded.For: 2", b"X_Other: 3"))
            head = await (await end.accept()).until()
    finally:
        await end.stop()
    found = [name in head for name in (b"X_API_Key: 1", b"X.Forwarded.For: 2", b"X_Other: 3")]
    assert found == [bool(file), bool(file), True]


async def test_requests_are_spread_over_the_endpoints(tmp_path):
    """While one endpoint is busy with a request, the next request goes to the other."""
    ends = [await ScriptedUpstream().start() for _ in range(2)]
    urls = [f"http://127.0.0.1:{end.port}" for end in ends]
    try:
        async with proxying(tmp_path, upstreams={"app": {"endpoints": urls}}) as front:
            for _ in range(2):
                await (await front.client()).send(get())
            for end in ends:
                await (await end.accept()).until()
    finally:
        for end in ends:
            await end.stop()


@pytest.mark.parametrize("breaker", [{"consecutive": 1, "open_for": "7s"}, False], ids=["breaker", "false"])
async def test_an_upstream_that_failed_is_left_alone_for_as_long_as_the_file_says(tmp_path, breaker):
    """Behind an open breaker: 503 with Retry-After. Without one each request is told of its own attempt."""
    async with proxying(tmp_path, upstreams={"app": {"url": refusing(), "breaker": breaker}}) as front:
        assert (await front.ask(get()))[0] == 502
        status, answer = await front.ask(get())
        assert (status, header(answer, b"Retry-After")) == ((503, "7") if breaker else (502, None))


@pytest.mark.parametrize("balance", [{"failures": 1}, False], ids=["balance", "false"])
async def test_an_endpoint_that_failed_is_left_alone_for_as_long_as_the_file_says(tmp_path, balance):
    """An ejected endpoint gets no request while the other is healthy; ``false`` ejects none."""
    closing = await ScriptedUpstream().start()
    closing.serve(close)
    try:
        async with application() as url:
            urls = [f"http://127.0.0.1:{closing.port}", url]
            upstream = {"endpoints": urls, "breaker": False, "balance": balance}
            async with proxying(tmp_path, upstreams={"app": upstream}) as front:
                statuses = [(await front.ask(get()))[0] for _ in range(40)]
                assert (statuses.count(502) == 1) is bool(balance)
    finally:
        await closing.stop()


async def close(_reader, writer):
    """Close a connection before a byte."""
    writer.close()


async def test_limits_bound_what_a_client_may_send(serving):
    """A body over ``max_body`` is 413."""
    async with serving(limits={"max_body": 3}) as front:
        assert [(await front.ask(post(body)))[0] for body in (b"", b"four")] == [200, 413]


async def test_a_route_bounds_the_wait_for_a_response(tmp_path):
    """``timeout`` overrides the upstream's ``response_timeout``: the request that may wait less ends first."""
    silent = await ScriptedUpstream().start()
    url = f"http://127.0.0.1:{silent.port}"
    upstreams = {"slow": {"url": url}, "quick": {"url": url, "response_timeout": "200ms"}}
    routes = [
        {"name": "bounded", "match": {"path": "/bounded"}, "upstream": "slow", "timeout": "20ms"},
        {"name": "rest", "upstream": "quick"},
    ]
    try:
        async with proxying(tmp_path, upstreams=upstreams, routes=routes) as front:
            await (await front.client()).send(get(b"/bounded"))
            await (await silent.accept()).until()
            assert (await front.ask(get()))[0] == 504
            assert [(each.route, each.status) for each in front.handled] == [("bounded", 504), ("rest", 504)]
    finally:
        await silent.stop()


async def test_a_routes_name_is_the_one_in_log_and_metrics(serving):
    """Without a name it is what the route matches."""
    routes = [{"name": "named", "match": {"path": "/a"}}, {"match": {"prefix": "/b"}}]
    async with serving(routes=routes) as front:
        for path in (b"/a", b"/b/c"):
            await front.ask(get(path))
        assert [each.route for each in front.handled] == ["named", "/b"]


async def test_a_route_is_limited_by_its_rate_limits(serving):
    """Two requests pass, the third is 429; its headers say what is left."""
    async with serving(**limited()) as front:
        answers = [await front.ask(get()) for _ in range(3)]
    assert [status for status, _ in answers] == [200, 200, 429]
    assert [header(answer, b"X-RateLimit-Remaining") for _, answer in answers] == ["1", "0", "0"]


async def test_what_remains_counts_the_burst(serving):
    """docs/gateway.md: the limit is the rate that lasts, and what remains may exceed it."""
    file = limited(allowed=100)
    file["policies"]["descriptors"][0]["rate_limit"]["burst"] = 200
    async with serving(**file) as front:
        _, answer = await front.ask(get())
    assert [header(answer, b"X-RateLimit-" + name) for name in (b"Limit", b"Remaining")] == ["100, 100;w=3600", "199"]


async def test_hits_addend_is_what_a_request_costs(serving):
    """A cost of 3 takes three of ten; with ``is_negative_hits`` it gives them back, one request at a time."""
    take, give = {"number": 3}, {"number": 2, "is_negative_hits": True}
    file = limited(allowed=10, hits_addend=take)
    (route,) = file["routes"]
    back = {"match": {"path": "/back"}, "rate_limits": [{**route["rate_limits"][0], "hits_addend": give}]}
    async with serving(**{**file, "routes": [back, route]}) as front:
        answers = [await front.ask(get(path)) for path in (b"/", b"/", b"/back")]
    assert [header(answer, b"X-RateLimit-Remaining") for _, answer in answers] == ["7", "4", "6"]


async def test_a_limit_of_the_route_overrides_the_policys(serving):
    """``limit.rate_limit`` allows its own requests_per_unit in its own unit."""
    own = {"rate_limit": {"requests_per_unit": 5, "unit": "day"}}
    async with serving(**limited(limit=own)) as front:
        _, answer = await front.ask(get())
    assert tuple(header(answer, b"X-RateLimit-" + name) for name in (b"Limit", b"Remaining")) == ("5, 5;w=86400", "4")


async def test_the_domain_says_whose_limits_apply(serving):
    """Of two policies in ``policies``, the one that ``domain`` names limits the requests."""
    file = limited(allowed=1)
    policies = [{**file["policies"], "domain": "strict"}, {"domain": "free"}]
    for domain, found in (("strict", [200, 429]), ("free", [200, 200])):
        async with serving(**{**file, "policies": policies, "domain": domain}) as front:
            assert found == [(await front.ask(get()))[0] for _ in range(2)]


async def test_policies_may_stand_in_a_folder(serving, tmp_path):
    """``policies`` names a folder relative to the gateway file, whose limits apply."""
    (tmp_path / "limits").mkdir()
    rule = "{unit: hour, requests_per_unit: 1}"
    (tmp_path / "limits" / "p.yaml").write_text(
        f"domain: d\ndescriptors: [{{key: remote_address, rate_limit: {rule}}}]"
    )
    async with serving(**{**limited(), "policies": "limits"}) as front:
        assert [(await front.ask(get()))[0] for _ in range(2)] == [200, 429]


async def test_the_name_of_the_gateway_is_the_source_cluster(serving):
    """A limit for ``source_cluster: edge`` applies to the gateway named edge alone."""
    file = limited(allowed=1, actions=[{"source_cluster": {}}])
    file["policies"]["descriptors"][0]["value"] = "edge"
    for name, found in (("edge", [200, 429]), ("other", [200, 200])):
        async with serving(**file, name=name) as front:
            assert found == [(await front.ask(get()))[0] for _ in range(2)]


@pytest.mark.parametrize(("trusted", "found"), [(["127.0.0.0/8"], [200, 200, 429]), ([], [200, 429, 429])])
async def test_a_trusted_proxy_says_who_the_client_is(serving, trusted, found):
    """Behind ``trusted_proxies`` clients are counted by X-Forwarded-For; without, by the address of the connection."""
    clients = [b"192.0.2.1", b"192.0.2.2", b"192.0.2.2"]
    async with serving(**limited(allowed=1), trusted_proxies=trusted) as front:
        answers = [await front.ask(get(b"/", b"X-Forwarded-For: " + client)) for client in clients]
    assert found == [status for status, _ in answers]
    onward = b"X-Forwarded-For: 192.0.2.1, 127.0.0.1" if trusted else b"X-Forwarded-For: 127.0.0.1"
    assert onward.lower() in answers[0][1].lower()


async def test_a_denial_has_the_status_that_the_file_says(serving):
    """``rate_limited_status`` replaces 429; the body still says rate_limited."""
    async with serving(**limited(allowed=0), rate_limited_status=503) as front:
        status, answer = await front.ask(get())
    assert (status, b'"error":"rate_limited"' in answer) == (503, True)


@pytest.mark.parametrize("details", [True, False])
async def test_a_denial_names_limit_and_wait_where_the_file_says_so(serving, details):
    """With ``error_details`` the body has the limit, as the access log has it, and Retry-After; by default neither."""
    async with serving(**limited(allowed=0), **({"error_details": True} if details else {})) as front:
        _, answer = await front.ask(get())
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    told = {"limit": "d.remote_address", "retry_after": int(header(answer, b"Retry-After"))}
    assert {name: body[name] for name in body.keys() - {"error", "message", "request_id"}} == (told if details else {})


async def test_an_encoded_slash_is_kept_where_the_file_says_so(serving):
    """With ``encoded_slash: keep`` it is part of a segment, in either case, and goes on as it came; else it is 400."""
    routes = [{"name": "one", "match": {"path": "/a%2Fb"}}, {"name": "below", "match": {"prefix": "/c%2fd/"}}, {}]
    async with serving(routes=routes, encoded_slash="keep") as front:
        for path, name in ((b"/a%2fb", "one"), (b"/c%2Fd/e", "below"), (b"/a/b", "/")):
            status, answer = await front.ask(get(path))
            assert (status, front.handled[-1].route) == (200, name)
            assert b"GET %b HTTP/1.1" % path in answer
        _, answer = await front.ask(get(b"/x/../a%2fb"))
        assert b"GET /a%2fb HTTP/1.1" in answer
        for path in (b"/a%5Cb", b"/a/..%2Fb", b"/a%2f..", b"/a%2F..;x%2Fb", b"/a%2Fb/%2e%2e%2fc", b"/a%00%2F"):
            assert (await front.ask(get(path)))[0] == 400
    async with serving() as front:
        assert (await front.ask(get(b"/a%2Fb")))[0] == 400
