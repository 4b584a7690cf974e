"""The service and the proxy: a real process, a gRPC call, and HTTP requests."""

import json
import os
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

POLICY = """
domain: shop
descriptors:
  - key: user
    rate_limit: {unit: day, requests_per_unit: 2}
"""

CALL = {"domain": "shop", "descriptors": [{"entries": [{"key": "user", "value": "json"}]}]}


@pytest.fixture
def policy(tmp_path):
    (tmp_path / "policy.yaml").write_text(POLICY)
    return "policy.yaml"


def get(url, body=None, **headers):
    """Return status and body."""
    wanted = urllib.request.Request(url, data=body, headers=headers)
    try:
        with urllib.request.urlopen(wanted, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def limited(installed, policy, **settings):
    """Serve the policy; two calls are admitted and the third is not, by gRPC and by HTTP."""
    with installed.running("serve", "--config", policy, **settings) as (_, serving):
        ask = ("check", "--address", serving["grpc"], "-d", "shop", "user=grpc")
        assert "OK" in installed.run("ratelimitd", *ask)
        assert "OK" in installed.run("ratelimitd", *ask)
        assert "OVER_LIMIT" in installed.run("ratelimitd", *ask, code=1)
        asked = [get(f"http://{serving['http']}/json", json.dumps(CALL).encode())[0] for _ in range(3)]
        assert asked == [200, 200, 429]
        assert get(f"http://{serving['http']}/healthcheck")[0] == 200


@pytest.mark.process
@pytest.mark.parametrize("transport", [pytest.param("nghttp2", marks=pytest.mark.compiled), "grpcio"])
def test_the_service_limits(transport, installed, policy):
    """Counters are in memory; both transports of gRPC are there."""
    limited(installed, policy, TRANSPORT=transport)


@pytest.mark.redis
@pytest.mark.process
def test_the_service_limits_with_redis(installed, policy, redis_server):
    """The scripts that Redis runs are files of the package."""
    limited(installed, policy, REDIS_SOCKET_TYPE="unix", REDIS_URL=redis_server)


class App(BaseHTTPRequestHandler):
    """Answers each request with its path."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.path)))
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, *_):
        """Log nothing."""


@pytest.fixture
def app():
    """Address of an app."""
    with HTTPServer(("127.0.0.1", 0), App) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.process
def test_the_proxy_limits(installed, app):
    """Requests reach the app until the limit of their key."""
    started = installed.running("proxy", "--upstream", app, "--limit", "2/day", "--by", "x-api-key")
    with started as (_, serving):
        url = f"http://{serving['proxy']}/path"
        assert get(url, **{"X-API-Key": "a"}) == (200, b"/path")
        assert [get(url, **{"X-API-Key": "a"})[0] for _ in range(2)] == [200, 429]
        assert get(url, **{"X-API-Key": "b"})[0] == 200


def shown(address):
    """The page of the live view, as a browser gets it, with each file that it is made of."""
    status, page = get(f"http://{address}/", Accept="text/html,*/*;q=0.8")
    files = [*(ROOT / "ratelimitd/admin/page_files").glob("*.[cj]s*")]
    assert status == 200
    assert len(files) > 2
    assert [each.name for each in files if each.read_text() not in page.decode()] == []


@pytest.mark.process
def test_what_make_run_starts_limits(installed, app):
    """scripts/run in a folder whose .venv is the installation, with all its defaults but the ports.

    The proxy has its default gateway file, counts in memory, and serves Envoy beside it; the debug port shows it live.
    """
    (installed.folder / ".venv").symlink_to(installed.bin.parent)
    (installed.folder / "examples").symlink_to(ROOT / "examples")
    settings = {"PATH": os.environ["PATH"], "UPSTREAM_PORT": "0", "UPSTREAM_URL": app}
    with installed.started([ROOT / "scripts" / "run"], **settings) as (_, serving):
        url, key = f"http://{serving['proxy']}/api/expensive", {"X-API-Key": "api-key:standard"}
        assert [get(url, **key)[0] for _ in range(11)] == [200] * 10 + [429]
        expensive = ("endpoint=expensive", "api_key=api-key:standard")
        asked = ("check", "--address", serving["grpc"], "-d", "gateway", ",".join(expensive))
        assert "OVER_LIMIT" in installed.run("ratelimitd", *asked, code=1)
        assert serving["store"] == "memory"
        shown(serving["debug"])
        top = ("top", "--address", serving["debug"], "--once", "--json")
        assert "expensive" in installed.run("ratelimitd", *top)
