"""Paths and descriptors are those of a real Envoy."""

import asyncio
import random

import grpc
import pytest

from ratelimitd.gateway.paths import PathError, normalise
from ratelimitd.policy import Descriptor
from ratelimitd.proto import message
from ratelimitd.rls.decode import Bounds, decode
from testkit.envoy import bootstrap, envoy, upstream

from .files import ask, gateway, limits
from .test_paths import PIECES

pytestmark = pytest.mark.envoy

Answer = message("envoy.service.ratelimit.v3.RateLimitResponse")
NORMALISED = {"normalize_path": True, "merge_slashes": True, "path_with_escaped_slashes_action": "REJECT_REQUEST"}
PATHS = 300


class Asked(grpc.GenericRpcHandler):
    """A rate limit service that lets everything pass and keeps what it was asked."""

    def __init__(self):
        self.bodies = []

    def service(self, details):
        async def answer(body, _context):
            self.bodies.append(body)
            return Answer(overall_code=1).SerializeToString()

        return grpc.unary_unary_rpc_method_handler(answer)


async def get(url, path, headers=()):
    """Send the bytes of a path as they are; returns the status and the response's headers."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = [b"%b: %b" % (name.encode(), value.encode("latin-1")) for name, value in headers]
    head = [b"GET %b HTTP/1.1" % path, b"Host: example.org", b"Connection: close", *lines, b"", b""]
    writer.write(b"\r\n".join(head))
    answer = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    writer.close()
    await writer.wait_closed()
    return int(answer[0].split()[1]), dict(line.split(b": ", 1) for line in answer[1:] if b": " in line)


def manager(config):
    return config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]


@pytest.mark.parametrize("keep", [False, True], ids=["reject", "keep"])
async def test_a_path_that_is_taken_is_the_one_envoy_takes(tmp_path, keep):
    """What Envoy refuses is refused; what is taken has Envoy's path (where only slashes remain, it keeps two).

    With encoded slashes kept or rejected.
    """
    chance = random.Random(20)
    pieces = [*PIECES, "a%2fb", "%2F"] if keep else PIECES
    paths = ["/" + "".join(chance.choices(pieces, k=chance.randint(1, 9))) for _ in range(PATHS)]
    config = bootstrap(["127.0.0.1:9"], "127.0.0.1:9", [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}])
    managed = manager(config)
    managed.update(NORMALISED, http_filters=managed["http_filters"][-1:])
    if keep:
        managed["path_with_escaped_slashes_action"] = "KEEP_UNCHANGED"
    managed["route_config"]["response_headers_to_add"] = [{"header": {"key": "x-path", "value": "%REQ(:PATH)%"}}]
    taken = 0
    async with envoy(config, tmp_path) as running:
        for text in paths:
            path, question, query = text.encode().partition(b"?")
            if b" " in path or b" " in query:  # no target of HTTP at all
                continue
            status, headers = await get(running.url, path + question + query)
            try:
                ours = normalise(path, encoded_slash=keep)
            except PathError:
                continue
            theirs = headers.get(b"x-path", b"").partition(b"?")[0]
            assert status == 200 or not query.isascii(), path
            if status == 200:
                assert ours == (b"/" if theirs == b"//" else theirs), path
                taken += 1
    assert taken > PATHS / 4


KEY = {"generic_key": {"descriptor_value": "v"}}


def header(name, **more):
    return {"request_headers": {"header_name": name, "descriptor_key": "k", **more}}


def parameter(name, **more):
    return {"query_parameters": {"query_parameter_name": name, "descriptor_key": "q", **more}}


def on_header(matcher, name="x-a", **more):
    return {"header_value_match": {"descriptor_value": "y", "headers": [{"name": name, **matcher}], **more}}


def on_query(matcher, **more):
    parameters = [{"name": "a", **matcher}]
    return {"query_parameter_value_match": {"descriptor_value": "y", "query_parameters": parameters, **more}}


def safe_regex(text):
    return {"string_match": {"safe_regex": {"regex": text}}}


TWICE = [("X-A", "1"), ("X-A", "2")]
EXACT = {"string_match": {"exact": "1"}}
EMPTY = {"string_match": {"exact": ""}, "treat_missing_header_as_empty": True}
REGEX = safe_regex("a.c")
ANY_CASE = {"string_match": {"prefix": "aB", "ignore_case": True}}
BYTES = (
    *((".*bot.*", value) for value in ("bot\xff", "\xe9bot")),
    *(("bot.", value) for value in ("bot\xff", "bot\xc3\xa9")),
    *(("[^a]+", value) for value in ("\xff", "a")),
    *(("\xe9", value) for value in ("\xe9", "\xc3\xa9")),
    *(("[\xe9]", value) for value in ("\xc3\xa9", "\xc3", "\xe9")),
    *((r"\x{e9}", value) for value in ("\xe9", "\xc3\xa9", "\xc9")),
    *(("(?i)" + text, value) for text in ("\xc9", r"\x{c9}") for value in ("\xc3\xa9", "\xe9")),
    ("(?i)k", "\xe2\x84\xaa"),
    *((text, "\xff") for text in (r"\w", r"\W", r"\pL", r"\C", r"\xff")),
)
"""Expressions, and values with bytes above 127: UTF-8 or not."""
ESCAPED = (("a.c", "a%ffc"), ("a..c", "a%C3%A9c"), ("a.c", "a%C3%A9c"), ("a\xe9c", "a%c3%a9c"))
"""Expressions, and the escaped values of query parameters."""
TEXTS = ({"exact": "1"}, {"exact": "2"}, {"exact": "1,2"}, {"prefix": "2"}, {"suffix": "1"}, {"contains": ","})
QUERIES = ("/", "/?a", "/?a=", "/?a=b=c", "/?A=1", "/?a=%zz%41%", "/?b;a=1", "/?&&a=%ff&a=2", "/?b&%61=1%20+&a=2")
QUERY_MATCHES = ({}, {"present_match": True}, {"present_match": False}, {"string_match": {"exact": "1 +"}})
CLUSTERS = [{"destination_cluster": {}}, {"source_cluster": {}}, {"remote_address": {}}]

LIKE = [
    *(([header("x-a")], "/", headers) for headers in ([], [("X-A", "1")], [("x-a", "")], TWICE)),
    *(([header(name)], "/", [(name, "1"), (name, "2")]) for name in ("accept", "authorization", "x-api-key", "cookie")),
    ([header("x-a", skip_if_absent=True)], "/", []),
    ([header("x-a", skip_if_absent=True), KEY], "/", []),
    ([header("x-a"), KEY], "/", []),
    *(([header(name)], "/a/../b?q=1", []) for name in (":path", ":method", ":authority", ":scheme", "host")),
    ([{"generic_key": {"descriptor_value": "%REQ(x-a)%", "descriptor_key": "g"}}], "/", []),
    (CLUSTERS, "/", []),
    ([{"masked_remote_address": {}}], "/", []),
    ([{"masked_remote_address": {"v4_prefix_mask_len": 9}}], "/", []),
    *(([on_header({"string_match": text})], "/", headers) for text in TEXTS for headers in (TWICE, [])),
    ([on_header({"string_match": {"exact": "1,2"}}, "accept")], "/", [("accept", "1"), ("accept", "2")]),
    ([on_header(ANY_CASE)], "/", [("x-a", "AbC")]),
    *(([on_header(safe_regex(text))], "/", [("x-a", value)]) for text, value in BYTES),
    *(([on_query(safe_regex(text))], f"/?a={value}", []) for text, value in ESCAPED),
    *(([on_header(REGEX)], "/", [("x-a", value)]) for value in ("abc", "abcd")),
    *(
        ([on_header({**match, **invert})], "/", headers)
        for match in ({}, {"present_match": True}, {"present_match": False}, EXACT, EMPTY)
        for invert in ({}, {"invert_match": True})
        for headers in ([], [("x-a", "1")], [("x-a", "")], TWICE)
    ),
    *(([on_header({"present_match": True}, expect_match=False)], "/", headers) for headers in ([], TWICE)),
    *(([on_query(match)], path, []) for match in QUERY_MATCHES for path in QUERIES),
    ([on_query({"present_match": True}, expect_match=False)], "/?b", []),
    *(([parameter("a")], path, []) for path in QUERIES),
    ([parameter("a", skip_if_absent=True), KEY], "/?b", []),
]
MORE = [
    {"hits_addend": {"number": 0}},
    {"hits_addend": {"number": 5, "is_negative_hits": True}},
    {"limit": {"rate_limit": {"requests_per_unit": 5, "unit": "hour"}}},
]
CASES = [(limits(*actions), path, headers) for actions, path, headers in LIKE] + [
    (limits(KEY, **more), "/", []) for more in MORE
]


def twin(number, limit):
    """One route for the case of this number: ours, and Envoy's of the same rate limit."""
    name = f"case-{number}"
    ours = {"name": name, "match": {"headers": [{"name": "x-case", "exact": name}]}, "rate_limits": [limit]}
    (read,) = gateway(ours).routes[0].rate_limits
    theirs = {
        "match": {"prefix": "/", "headers": [{"name": "x-case", "string_match": {"exact": name}}]},
        "route": {"cluster": "app"},
        "typed_per_filter_config": {
            "envoy.filters.http.ratelimit": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimitPerRoute",
                "rate_limits": [read.envoy],
            }
        },
    }
    return ours, theirs


async def test_descriptors_are_the_ones_envoy_sends(tmp_path):
    """For each action, with what it needs present, absent, repeated and escaped: entries, hits and limits."""
    from ratelimitd.gateway.routing import Router

    routes = [twin(number, limit) for number, (limit, _, _) in enumerate(CASES)]
    router = Router(gateway(*(ours for ours, _ in routes), name="edge"))
    asked = Asked()
    service = grpc.aio.server()
    service.add_generic_rpc_handlers((asked,))
    port = service.add_insecure_port("127.0.0.1:0")
    await service.start()
    try:
        async with upstream() as address:
            config = bootstrap([f"127.0.0.1:{port}"], address, [theirs for _, theirs in routes])
            config["node"] = {"id": "edge", "cluster": "edge"}
            config["static_resources"]["clusters"][1]["name"] = "app"
            manager(config).update(NORMALISED)
            async with envoy(config, tmp_path) as running:
                for number, (limit, path, headers) in enumerate(CASES):
                    asked.bodies.clear()
                    lines = [*headers, ("x-case", f"case-{number}")]
                    await get(running.url, path.encode(), lines)
                    theirs = [descriptor for body in asked.bodies for descriptor in decode(body, Bounds()).descriptors]
                    bare, question, query = path.partition("?")
                    _, ours = ask(router, bare, query if question else None, lines, address="127.0.0.1")
                    assert list(ours) == theirs, (limit, path, headers)
                    assert all(isinstance(each, Descriptor) for each in ours)
    finally:
        await service.stop(0)
