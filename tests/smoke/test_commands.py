"""The commands that start no service."""

import json
import re

import pytest

POLICY = """
domain: shop
descriptors:
  - key: user
    rate_limit: {unit: minute, requests_per_unit: 2}
"""


@pytest.fixture
def policy(tmp_path):
    (tmp_path / "policy.yaml").write_text(POLICY)
    return "policy.yaml"


@pytest.mark.process
def test_the_module_is_the_command(installed):
    """``python -m ratelimitd`` too says its version."""
    assert installed.run("python", "-m", "ratelimitd", "--version") == installed.run("ratelimitd", "--version")


@pytest.mark.process
def test_every_command_has_a_help(installed):
    """All of them import what they need, also ``ratelimit``, which is for images and is not listed."""
    _, _, listed = installed.run("ratelimitd", "--help").partition("Commands:\n")
    commands = re.findall(r"^  (\w+)  ", listed, re.MULTILINE)
    assert {"proxy", "serve", "top", "watch"} <= {*commands}
    for each in ["ratelimit", *commands]:
        assert f"Usage: ratelimitd {each}" in installed.run("ratelimitd", each, "--help")


@pytest.mark.process
@pytest.mark.parametrize("kind", ["policy", "gateway", "overlay"])
def test_a_schema_is_printed(kind, installed):
    """It is made from the tables and docstrings of the parser, which a build must not leave out."""
    assert json.loads(installed.run("ratelimitd", "schema", kind))["$schema"]


@pytest.mark.process
def test_a_policy_is_validated_simulated_and_compared(installed, policy):
    """With its exit codes: 1 for a file that is wrong."""
    installed.run("ratelimitd", "validate", policy)
    simulated = ("simulate", "--config", policy, "-d", "shop", "user=a", "--rate", "1/s", "--for", "1m")
    assert "58" in installed.run("ratelimitd", *simulated)  # two of 60 requests are admitted
    (installed.folder / "wrong.yaml").write_text(POLICY.replace("minute", "moment"))
    assert "moment" in installed.run("ratelimitd", "validate", "wrong.yaml", code=1)


@pytest.mark.process
def test_the_doctor_finds_nothing_wrong(installed, policy):
    """Its checks import each library that a service needs, and open the ports."""
    free = dict.fromkeys(("PORT", "GRPC_PORT", "DEBUG_PORT"), "0")
    assert "nghttp2" in installed.run("ratelimitd", "doctor", "--config", policy, **free)


@pytest.mark.process
def test_a_command_of_an_extra_names_the_extra(installed):
    """Envoy's types come with ``ratelimitd[envoy]``, and the command says so where they are missing."""
    (installed.folder / "gateway.yaml").write_text(
        installed.run("ratelimitd", "proxy", "--upstream", "http://localhost:1", "--print-config")
    )
    assert "ratelimitd[envoy]" in installed.run("ratelimitd", "envoy", "gateway.yaml", code=2)
