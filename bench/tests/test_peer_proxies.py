"""Other proxies: the syntax of --peer-proxy, and the Go gateway."""

import http.server
import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from contextlib import contextmanager, suppress

import pytest
from click.testing import CliRunner

from bench import peer_proxies
from bench.__main__ import main
from bench.peer_proxies import GO, PeerProxy, go_gateway, peer_proxy
from testkit import server

COMMAND = "caddy reverse-proxy --from http://:{port} --to {upstream}"


def test_a_proxy_is_a_name_and_a_command_with_both_addresses():
    """The addresses may be parts of words; a quoted word stays whole."""
    found = peer_proxy(f"caddy={COMMAND} --header-up 'A: b'")
    assert found.command("h:1", "h:2") == [
        "caddy", "reverse-proxy", "--from", "http://:1", "--to", "h:2", "--header-up", "A: b",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["", "caddy", "caddy=", f"={COMMAND}", "caddy=caddy {listen}", "caddy=caddy {upstream}"]
)
def test_a_proxy_that_cannot_be_started_is_refused_with_the_form(text):
    """Without a name, or without one of the addresses."""
    with pytest.raises(ValueError, match="NAME=COMMAND"):
        peer_proxy(text)


@pytest.mark.parametrize("name", ["nginx", "limits, log", GO])
def test_a_proxy_may_not_take_a_name_of_the_table(name):
    """Two proxies never share a row."""
    said = CliRunner().invoke(main, ["proxy", "--peer-proxy", f"{name}={COMMAND}"])
    assert said.exit_code == 2
    assert "give the proxy another name" in said.output


def test_without_go_the_gateway_is_left_out_and_a_note_says_so(monkeypatch):
    """Nothing else is different."""
    monkeypatch.setattr(peer_proxies.shutil, "which", lambda _: None)
    assert go_gateway("k") == ([], ["go gateway: not measured, Go is not installed"])


@pytest.mark.process
@pytest.mark.skipif(shutil.which("go") is None, reason="Go is not installed")
def test_the_go_gateway_limits_forwards_and_logs():
    """The peer does what ours does: limits by key and by address, headers, a line for each request, and metrics."""
    (built,), notes = go_gateway("k")
    assert notes == []
    assert isinstance(built, PeerProxy)
    address = f"127.0.0.1:{server.free_port()}"
    with _files() as upstream, subprocess.Popen(
        built.command(address, upstream), stdout=subprocess.PIPE, text=True
    ) as gateway:  # fmt: skip
        try:
            _wait(address)
            keyed = urllib.request.Request(f"http://{address}/", headers={"X-API-Key": "k", "X-Request-Id": "mine"})
            with urllib.request.urlopen(keyed) as answer:
                assert (answer.status, answer.headers["X-RateLimit-Limit"]) == (200, "1000000000")
            statuses = [_status(f"http://{address}/") for _ in range(6)]
            assert (statuses[:5], statuses[5]) == ([200] * 5, 429)
            with urllib.request.urlopen(f"http://{address}/metrics") as answer:
                assert 'gateway_rate_limited_total{tier="anonymous"} 1' in answer.read().decode()
            assert gateway.stdout is not None
            line = json.loads(gateway.stdout.readline())
            assert (line["request_id"], line["status"], line["tier"]) == ("mine", 200, "premium")
        finally:
            gateway.terminate()


@contextmanager
def _files():
    """A server of files behind the gateway."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as behind:
        threading.Thread(target=behind.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{behind.server_port}"
        behind.shutdown()


def _wait(address):
    host, _, port = address.rpartition(":")
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection((host, int(port))):
            return
        time.sleep(0.02)
    raise AssertionError(address)


def _status(url):
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
