"""``ratelimitd check --explain`` by files."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from click.testing import CliRunner

from ratelimitd.cli import main

POLICY = """domain: shop
descriptors:
  - {key: user, rate_limit: {unit: minute, requests_per_unit: 5}}
  - {key: path, value: /api, rate_limit: {unit: minute, requests_per_unit: 5}}
"""


NUMBERS = "unit=MINUTE requests_per_unit=5, shadow_mode: false, quota_mode: false"


def explain(*words, env=None):
    return CliRunner(env=env).invoke(main, ["check", "--explain", *words])


@pytest.fixture
def policy(tmp_path):
    file = tmp_path / "shop.yaml"
    file.write_text(POLICY)
    return str(file)


def test_each_descriptor_is_explained_without_a_service(policy):
    """Exit 0 if a limit applies to each, 1 if none applies to one of them."""
    done = explain("-d", "shop", "--config", policy, "user=a", "path=/apo")
    assert (done.exit_code, done.output.splitlines()) == (
        1,
        [
            "user=a",
            "  user=a took user, the key with any value",
            f"  shop.user has 5 per minute ({policy}:3): {NUMBERS}",
            "path=/apo",
            "  path=/apo matches nothing below shop",
            "  nearest there: path_/api, user",
            "  no limit applies",
        ],
    )
    assert explain("-d", "shop", "--config", policy, "user=a").exit_code == 0


def test_a_lease_is_removed_before_matching(policy):
    """As ``check`` of the same descriptor, the explanation is about the other entries."""
    done = explain("-d", "shop", "--config", policy, "user=a,ratelimitd.lease=none")
    assert (done.exit_code, done.output.splitlines()[:2]) == (
        0,
        ["user=a", "  user=a took user, the key with any value"],
    )


def test_json_has_the_same(policy):
    """One object, as the admin API answers."""
    done = explain("-d", "shop", "--config", policy, "path=/apo", "--json")
    assert json.loads(done.output)["descriptors"][0]["nearest"] == ["path_/api", "user"]


def test_an_unknown_domain_is_told_the_known_ones(policy):
    """No limit applies, so it exits 1."""
    done = explain("-d", "shp", "--config", policy, "user=a")
    assert (done.exit_code, done.output) == (1, "the policy does not define the domain shp; it defines shop\n")


def test_a_policy_with_errors_is_not_explained(tmp_path):
    """The errors are printed, exit 2."""
    (tmp_path / "bad.yaml").write_text("domain: shop\ndescriptors: [{value: x}]\n")
    done = explain("-d", "shop", "--config", str(tmp_path / "bad.yaml"), "user=a")
    assert (done.exit_code, "bad.yaml" in done.stderr) == (2, True)


def test_a_service_is_asked_with_its_token(tmp_path):
    """Without one, or with a file that cannot be read, the error says what to set."""
    env = {"ADMIN_TOKEN": None, "ADMIN_TOKEN_FILE": None}
    done = explain("-d", "shop", "user=a", env=env)
    assert (done.exit_code, "set ADMIN_TOKEN or ADMIN_TOKEN_FILE" in done.stderr) == (2, True)
    done = explain("-d", "shop", "user=a", env={**env, "ADMIN_TOKEN_FILE": str(tmp_path / "none")})
    assert (done.exit_code, "cannot be read" in done.stderr) == (2, True)
    done = explain("-d", "shop", "user=a", "--admin", "127.0.0.1:1", env={**env, "ADMIN_TOKEN": "x" * 16})
    assert (done.exit_code, "--config PATH" in done.stderr) == (2, True)


@pytest.mark.parametrize("answer", [b"<html>", b"[1]", b'{"status": "ok"}'])
def test_the_answer_of_another_server_is_told_from_an_explanation(answer):
    """Whatever it answers, the error says that this is not the debug port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.handle_request).start()
        address = f"127.0.0.1:{server.server_port}"
        done = explain("-d", "shop", "user=a", "--admin", address, env={"ADMIN_TOKEN": "x" * 16})
    assert (done.exit_code, done.stderr) == (2, f"ratelimitd: {address} is not the debug port of ratelimitd\n")


def test_files_are_for_an_explanation_alone(policy):
    """A check asks a service, so --config with it is a mistake, and is told so."""
    done = CliRunner().invoke(main, ["check", "-d", "shop", "--config", policy, "user=a"])
    assert (done.exit_code, "--config belongs to --explain" in done.stderr) == (2, True)
