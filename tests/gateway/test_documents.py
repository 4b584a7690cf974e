"""docs/gateway.md says what is so."""

import re
from pathlib import Path

import pytest

from ratelimitd.config.values import duration, size
from ratelimitd.config.yaml_nodes import load_yaml, value_of
from ratelimitd.gateway.file import BALANCE, BREAKER, CONNECTIONS, LIMITS, gateway_reader, read_gateway
from ratelimitd.gateway.routing import Router
from ratelimitd.http1.options import ServerOptions, UpstreamOptions
from ratelimitd.policy_file import examine
from tests.config.key_paths import key_paths

PAGE = (Path(__file__).parents[2] / "docs" / "gateway.md").read_text()
ENVOY_MATCHERS = {"safe_regex", "ignore_case", "present_match", "invert_match", "treat_missing_header_as_empty"}
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_file_of_the_page_loads(block):
    """With its policies, without an error."""
    assert Router(read_gateway("gateway.md", block.encode()))
    parsed = examine([("gateway.md", value_of(load_yaml(block.encode()), "policies"))], default_algorithm="gcra")
    assert parsed.errors == []


@pytest.mark.parametrize("key", [*LIMITS, *CONNECTIONS, *BREAKER, *BALANCE])
def test_the_page_names_every_option(key):
    """Of clients and of upstreams."""
    assert f"`{key}`" in PAGE


@pytest.mark.parametrize("path", sorted({path[-2:] for path in key_paths(gateway_reader(for_envoy=True))}))
def test_the_page_names_every_key(path):
    """Of the whole file, but for those of Envoy's matchers, whose page it links to."""
    assert re.search(rf"\b{path[-1]}\b", PAGE) or path[-1] in ENVOY_MATCHERS or path[-2] in ENVOY_MATCHERS


@pytest.mark.parametrize(("options", "levels"), [(ServerOptions(), LIMITS), (UpstreamOptions(), CONNECTIONS)])
def test_the_page_has_the_defaults_there_are(options, levels):
    """In the column of defaults, where there is one."""
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([0-9][0-9A-Za-z]*) \|$", PAGE, re.MULTILINE)
    told = {(key, _number(text)) for key, text in rows}
    missing = {key for key in levels if not {(key, getattr(options, key))} <= told}
    assert missing <= {"max_waiting", "wait_timeout", "lifetime", "max_connections_per_client", "methods"}


def _number(text):
    try:
        return int(text)
    except ValueError:
        return size(1)(text) if text.endswith("iB") else duration(text)
