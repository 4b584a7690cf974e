"""The pages about deployments say what the tests of this folder start."""

import re

import pytest
import yaml

from ratelimitd.policy_file import read_overlay
from ratelimitd.settings import ROWS
from testkit.blocks import blocks
from testkit.pasted import ROOT
from tests.docs.test_links import without_code
from tests.migrating.manifests import AGENT_ROUTER, COMPOSE, ENVOY_GATEWAY, ISTIO

FOLDER = ROOT / "docs/migrating"
PAGES = {path.stem: path.read_text() for path in sorted(FOLDER.glob("*.md"))}
IMAGE = "example/ratelimitd:1"

NOT_OURS = {"REDIS_PORT"}
"""Variables that Kubernetes makes."""


def yamls(page):
    return [yaml.safe_load(block.text) for block in blocks(PAGES[page]) if block.language == "yaml"]


def named(page):
    """Names of variables in the text, and prefixes of names, which end in a star."""
    quoted = re.findall(r"`([^`]+)`", without_code(PAGES[page]))
    return {name for each in quoted for name in re.findall(r"\b[A-Z][A-Z0-9_]{3,}\*?", each)}


def exists(name):
    """Whether a setting has this name; on both sides a star stands for the rest of a name."""
    rows = [row.name for row in ROWS]
    if name.endswith("*"):
        return any(row.startswith(name[:-1]) for row in rows)
    return name in rows or any(row.endswith("*") and name.startswith(row[:-1]) for row in rows)


@pytest.mark.parametrize("page", PAGES)
def test_every_variable_of_a_page_is_a_setting(page):
    """A name that is misspelled would be set in vain."""
    assert {name for name in named(page) - NOT_OURS if "_" in name and not exists(name)} == set()


def test_the_page_of_envoy_gateway_has_every_variable_of_its_controller():
    """By name, or by a prefix."""
    found = named("envoy-gateway")
    prefixes = tuple(name[:-1] for name in found if name.endswith("*"))
    assert {name for name in ENVOY_GATEWAY.env if name not in found and not name.startswith(prefixes)} == set()


def test_the_image_is_set_where_each_controller_reads_it():
    """The fields of Envoy Gateway's configuration, of the sample, of the chart's values and of a Compose file."""
    gateway = yamls("envoy-gateway")
    assert gateway[0]["provider"]["kubernetes"]["rateLimitDeployment"]["container"]["image"] == IMAGE
    assert gateway[2]["rateLimitDeployment"]["container"]["image"] == IMAGE
    (container,) = yamls("istio")[0]["spec"]["template"]["spec"]["containers"]
    assert (container["image"], tuple(container["command"])) == (IMAGE, ISTIO.command)
    values, own, _ = yamls("agent-router")
    assert ":".join(values["rateLimiter"]["image"].values()) == IMAGE
    assert (own["containers"][0]["image"], tuple(own["containers"][0]["command"])) == (IMAGE, AGENT_ROUTER.command)


def test_the_compose_file_is_the_one_that_is_tested():
    """Environment, command, ports and volume; only the level of the log is left out."""
    service = yamls("plain")[0]["services"]["ratelimit"]
    env = dict(line.split("=", 1) for line in service["environment"])
    assert env == {name: value for name, value in COMPOSE.env.items() if name != "LOG_LEVEL"}
    assert (service["command"],) == COMPOSE.args
    assert [int(each.partition(":")[0]) for each in service["ports"]] == list(COMPOSE.ports)
    assert tuple(each.partition(":")[2] for each in service["volumes"]) == COMPOSE.mounts


def overlays():
    for page in PAGES:
        for found in yamls(page):
            if "overlay" in found:
                yield pytest.param(yaml.safe_dump(found), id=page)
            yield from (pytest.param(text, id=page) for text in found.get("data", {}).values())


@pytest.mark.parametrize("text", [*overlays()])
def test_overlays_are_valid(text):
    """As the service reads them, and each has entries."""
    assert read_overlay("overlay.yaml", text.encode()).entries
