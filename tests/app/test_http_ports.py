"""The HTTP and debug ports of a process: who reads them where, and what a browser may not ask for another site."""

import asyncio
import json
import shutil
import socket

import aiohttp
import pytest

from tests.service import has_ipv6, outer_address, service

pytestmark = pytest.mark.process

TOKEN = "a-token-of-the-tests-0123456789"
POLICY = "domain: d\ndescriptors:\n  - {key: user, rate_limit: {unit: day, requests_per_unit: 2}}\n"
ASKED = json.dumps({"domain": "d", "descriptors": [{"entries": [{"key": "user", "value": "x"}]}]})

needs_outer = pytest.mark.skipif(not outer_address(), reason="this host has no address but its loopback")


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return str(path)


async def ask(address, path, method="GET", **options):
    """The status and the text of a page; a connection that is refused is a status 0."""
    async with aiohttp.ClientSession() as session:
        try:
            async with session.request(method, f"http://{address}{path}", **options) as answer:
                return answer.status, await answer.text()
        except aiohttp.ClientConnectorError:
            return 0, ""


def at(host, address):
    """Another host with the port of an address."""
    return f"{host}:{address.rpartition(':')[2]}"


async def test_the_debug_port_is_on_loopback(policy):
    """By default a port-forward reads it, over 127.0.0.1, ::1 or the name; from another address nothing is there."""
    hosts = ["127.0.0.1", "localhost", *(["[::1]"] if has_ipv6() else [])]
    async with service("--config", policy, env={"DEBUG_HOST": None}) as running:
        for host in hosts:
            for path in ("/rlconfig", "/stats", "/"):
                assert (await ask(at(host, running.debug), path))[0] == 200, host
        assert "d.user: unit=DAY" in (await ask(at("127.0.0.1", running.debug), "/rlconfig"))[1]
        if outer_address():
            assert await ask(at(outer_address(), running.debug), "/rlconfig") == (0, "")


@needs_outer
async def test_a_published_port_is_read_by_any_name(policy):
    """With DEBUG_HOST=0.0.0.0, as in the image, /rlconfig is read from elsewhere; the admin API is not."""
    env = {"DEBUG_HOST": "0.0.0.0", "HOST": "0.0.0.0", "ADMIN_TOKEN": TOKEN}
    headers = {"Host": "ratelimit.example:6070"}
    async with service("--config", policy, env=env) as running:
        debug, http = (at(outer_address(), address) for address in (running.debug, running.http))
        assert (await ask(debug, "/rlconfig", headers=headers))[0] == 200
        assert (await ask(http, "/json", "POST", data=ASKED, headers=headers))[0] == 200
        assert (await ask(at("127.0.0.1", running.debug), "/rlconfig", headers=headers))[0] == 421
        authorized = {**headers, "Authorization": f"Bearer {TOKEN}"}
        assert (await ask(debug, "/admin/policy", headers=authorized))[0] == 403


@needs_outer
async def test_what_upstream_has_not_on_the_debug_port_asks_for_the_token(policy):
    """All that it lists but /rlconfig, /stats and /live/: 401 on this host, 403 from elsewhere, for every method.

    The live view shows no key as it is without the token.
    """
    async with service("--config", policy, env={"DEBUG_HOST": "0.0.0.0", "ADMIN_TOKEN": TOKEN}) as running:
        listed = (await ask(at("127.0.0.1", running.debug), "/"))[1].splitlines()
        paths = {line.partition(": ")[0] for line in listed} - {"/rlconfig", "/stats"}
        ours = {path for path in paths if not path.startswith("/live/")}
        assert ours >= {"/admin/", "/admin/key", "/admin/decisions", "/admin/explain", "/admin/policy"}
        for path in ours:
            for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
                assert (await ask(at("127.0.0.1", running.debug), path, method))[0] in {401, 429}, path
                assert (await ask(at(outer_address(), running.debug), path, method))[0] == 403, path


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_json_takes_what_curl_sends(policy):
    """``curl -d`` as in README and in upstream's, whose Content-Type is that of a form."""
    async with service("--config", policy) as running:
        statuses = []
        for _ in range(3):
            command = ("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-d", ASKED, f"{running.http}/json")
            curl = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            statuses.append((await curl.communicate())[0])
    assert statuses == [b"200", b"200", b"429"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example", "Content-Type": "text/plain"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"}, 403),
        ({"Host": "evil.example:8080", "Origin": "http://evil.example:8080"}, 421),
    ],
)
async def test_nothing_is_charged_for_a_page_of_another_site(policy, headers, status):
    """Neither for one that a user visits beside the service, nor for one whose name was bound to this host."""
    async with service("--config", policy) as running:
        for _ in range(3):
            assert (await ask(running.http, "/json", "POST", data=ASKED, headers=headers))[0] == status
        assert [(await ask(running.http, "/json", "POST", data=ASKED))[0] for _ in range(3)] == [200, 200, 429]


async def test_nothing_changes_for_a_page_of_another_site_that_has_the_token(policy):
    """The admin API neither resets a counter nor begins a decision log for it."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Origin": "http://evil.example"}
    async with service("--config", policy, env={"ADMIN_TOKEN": TOKEN}) as running:
        for path, method in (("/admin/key?domain=d&descriptor=user=x", "DELETE"), ("/admin/decisions", "POST")):
            assert (await ask(running.debug, path, method, headers=headers))[0] == 403
            del headers["Origin"]
            assert (await ask(running.debug, path, method, headers=headers))[0] == 200
            headers["Origin"] = "http://evil.example"


async def test_probes_and_metrics_take_any_host(policy):
    """A kubelet may send any, and a sidecar calls over loopback; the pages of the debug port are not read so."""
    headers = {"Host": "pod-7.example", "Origin": "http://evil.example"}
    async with service("--config", policy) as running:
        for path in ("/livez", "/readyz", "/healthcheck", "/metrics"):
            assert (await ask(running.http, path, headers=headers))[0] == 200
        for path in ("/rlconfig", "/stats", "/"):
            assert (await ask(running.debug, path, headers=headers))[0] == 421


async def test_allowed_hosts_pass(policy):
    """A proxy on this host, as Istio's sidecar, keeps the name that its callers used."""
    env, headers = {"HTTP_ALLOWED_HOSTS": "ratelimit, Ratelimit.Default"}, {"Host": "ratelimit.default:8080"}
    async with service("--config", policy, env=env) as running:
        assert (await ask(running.http, "/json", "POST", data=ASKED, headers=headers))[0] == 200
        assert (await ask(running.debug, "/rlconfig", headers=headers))[0] == 200
        assert (await ask(running.debug, "/rlconfig", headers={"Host": "other"}))[0] == 421


async def test_the_name_of_the_host_passes(policy):
    """Its own /etc/hosts may give it a loopback address, as Debian's does."""
    headers = {"Host": f"{socket.gethostname().upper()}:8080"}
    async with service("--config", policy) as running:
        assert (await ask(running.http, "/json", "POST", data=ASKED, headers=headers))[0] == 200
        assert (await ask(running.debug, "/rlconfig", headers=headers))[0] == 200


async def test_json_can_be_turned_off(policy):
    """HTTP_JSON=false: it is 404, and the other pages are there."""
    async with service("--config", policy, env={"HTTP_JSON": "false"}) as running:
        assert (await ask(running.http, "/json", "POST", data=ASKED))[0] == 404
        assert (await ask(running.http, "/healthcheck"))[0] == 200
