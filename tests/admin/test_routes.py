"""What each path answers, without a socket."""

import json

import pytest

from ratelimitd.admin.http import JSON, Page, PageRequest, PageResponse
from ratelimitd.admin.pages import debug_pages, metrics_pages, service_pages
from ratelimitd.admin.server import respond
from ratelimitd.observe.health import Health
from ratelimitd.transport import GrpcStatus


async def chunks():
    yield b"one\n"
    yield b"two\n"


def service(health=None, answer=(GrpcStatus.OK, b"{}"), notes=()):
    async def decide(body):
        assert body == b"asked"
        return answer

    health = health or Health()
    return service_pages(health, health, lambda: notes, decide, chunks)


async def ask(routes, path, method="GET"):
    return await respond(routes, PageRequest(method, path, {}, {}, b"asked"))


async def text_of(response):
    if isinstance(response.body, bytes):
        return response.body
    return b"".join([chunk async for chunk in response.body])


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_healthcheck_is_ok_or_500_with_nothing_for_any_method(method):
    """Probes written for envoyproxy/ratelimit read exactly this."""
    health = Health()
    assert (await ask(service(health), "/healthcheck", method))[:3] == (200, b"OK", "text/plain; charset=utf-8")
    health.set("redis", False, "refused")
    assert (await ask(service(health), "/healthcheck", method))[:2] == (500, b"")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("//healthcheck", 200),
        ("/./healthcheck", 200),
        ("///x/../healthcheck", 200),
        ("/../healthcheck", 200),
        ("/healthcheck/", 404),
        ("//nothing", 404),
    ],
)
async def test_a_path_is_cleaned_as_in_go(path, status):
    """A probe of upstream's with two slashes is redirected by Go's mux and answered; here it is answered."""
    assert (await ask(service(), path)).status == status


async def test_no_spelling_of_the_admin_api_gets_the_index():
    """While the admin API is off, every path that means one of its own is 404, so no reset seems to succeed."""
    debug = debug_pages(lambda: None, chunks)
    spellings = ("/admin/key", "//admin/key", "/./admin", "/x/../admin/key")
    assert [(await ask(debug, path, "DELETE")).status for path in spellings] == [404] * 4
    assert (await ask(debug, "//")).status == 200


@pytest.mark.scenario("probes that report a wrong state")
async def test_readyz_names_what_is_not_ready():
    """503 with a line for each component, with its reason where one is known."""
    health = Health()
    assert (await ask(service(health), "/readyz"))[:2] == (200, b"OK")
    health.set("sigterm", False)
    health.set("config", False, "no policy loaded")
    assert (await ask(service(health), "/readyz"))[:2] == (503, b"config: no policy loaded\nsigterm: not ready\n")


@pytest.mark.scenario("probes that report a wrong state")
async def test_readyz_lists_what_fails_besides():
    """A component that does not decide readiness is a line of the body, whatever the status is."""
    health, notes = Health(), [("redis", "OOM command not allowed")]
    assert (await ask(service(health, notes=notes), "/readyz"))[:2] == (200, b"OK\nredis: OOM command not allowed\n")
    health.set("sigterm", False)
    body = b"sigterm: not ready\nredis: OOM command not allowed\n"
    assert (await ask(service(health, notes=notes), "/readyz"))[:2] == (503, body)


async def test_readiness_may_count_more_than_health():
    """A service without a policy is unready, though upstream's /healthcheck does not count it."""
    health, readiness = Health(), Health()
    readiness.set("config", False)

    async def decide(_):
        return GrpcStatus.OK, b"{}"

    routes = service_pages(health, readiness, tuple, decide, chunks)
    assert [(await ask(routes, path)).status for path in ("/healthcheck", "/readyz")] == [200, 503]


@pytest.mark.scenario("probes that report a wrong state")
async def test_liveness_does_not_depend_on_any_component():
    """Restarting us does not mend Redis."""
    health = Health()
    health.set("redis", False, "refused")
    assert (await ask(service(health), "/livez"))[:2] == (200, b"OK")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((GrpcStatus.OK, b'{"overallCode":"OK"}'), (200, b'{"overallCode":"OK"}', JSON)),
        ((GrpcStatus.OK, b'{"overallCode": "OVER_LIMIT"}'), (429, b'{"overallCode": "OVER_LIMIT"}', JSON)),
        ((GrpcStatus.OK, b'{"domain":"OVER_LIMIT"}'), (200, b'{"domain":"OVER_LIMIT"}', JSON)),
        ((GrpcStatus.INVALID_ARGUMENT, b"what"), (400, b"Bad Request\n", "text/plain; charset=utf-8")),
        ((GrpcStatus.UNAVAILABLE, b"timeout: 15 ms"), (503, b'{"error": "timeout: 15 ms"}', JSON)),
        ((GrpcStatus.INTERNAL, b"\xff"), (500, b'{"error": "\\\\xff"}', JSON)),
    ],
)
async def test_json_answers_with_upstreams_codes(answer, expected):
    """200, 429 and 400 as upstream; a store failure is 503 with the reason, not the caller's fault."""
    response = await ask(service(answer=answer), "/json", "POST")
    assert response[:3] == expected
    if response.content_type == JSON:
        json.loads(await text_of(response))


async def test_metrics_are_streamed_with_prometheus_content_type():
    """On the service's port and under PROMETHEUS_PATH."""
    for routes, path in ((service(), "/metrics"), (metrics_pages("/here", chunks), "/here")):
        response = await ask(routes, path)
        assert (response.status, response.content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
        assert await text_of(response) == b"one\ntwo\n"


async def test_an_unknown_path_of_the_service_is_404():
    """Only the debug port answers every path."""
    assert (await ask(service(), "/nope")).status == 404
    assert (await ask(metrics_pages("/here", chunks), "/metrics")).status == 404


@pytest.mark.parametrize("path", ["/", "/nope", "/debug/pprof/"])
async def test_the_debug_port_lists_its_paths_everywhere_else(path):
    """A sorted line ``path: help`` for each."""
    response = await ask(debug_pages(lambda: None, chunks), path)
    lines = (await text_of(response)).decode().splitlines()
    assert [line.split(": ")[0] for line in lines] == ["/rlconfig", "/stats"]


@pytest.mark.parametrize("path", ["/admin", "/admin/", "/admin/key", "/admin/nope"])
async def test_below_admin_there_is_nothing_while_it_is_off(path):
    """404, not the list: a caller whose reset is off must not take its 200 for a reset."""
    for method in ("GET", "DELETE"):
        assert (await ask(debug_pages(lambda: None, chunks), path, method)).status == 404


async def test_the_debug_port_lists_the_admin_api_while_it_is_on():
    """And what is not one of its paths is 404 still."""

    async def handler(_):
        return PageResponse(200, b"answered")

    routes = debug_pages(lambda: None, chunks, {"/admin/key": Page(handler, "a key")})
    assert b"/admin/key: a key\n" in await text_of(await ask(routes, "/"))
    assert (await ask(routes, "/admin/key")).body == b"answered"
    assert (await ask(routes, "/admin/keys")).status == 404


async def test_the_debug_port_shows_limits_and_counters():
    """/rlconfig is empty without a policy, /stats is what it is given."""
    routes = debug_pages(lambda: None, chunks)
    assert await text_of(await ask(routes, "/rlconfig")) == b""
    assert await text_of(await ask(routes, "/stats")) == b"one\ntwo\n"
