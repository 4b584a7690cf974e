"""The overlays of the pages and the examples are valid, and do what is said of them."""

import re
import textwrap
from pathlib import Path

import pytest

from ratelimitd.policy_file import examine, read_overlay
from ratelimitd.sources import OverlayFile, find_overlay

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "overlay" / "envoy-gateway.yaml"
BLOCK = re.compile(r"^ *```yaml\n(.*?)^ *```", re.MULTILINE | re.DOTALL)

LISTENER = """\
domain: {}
descriptors:
- key: httproute/default/shop/rule/0
  value: httproute/default/shop/rule/0
  descriptors:
  - {{key: rule-0-match-0, value: rule-0-match-0, rate_limit: {{unit: minute, requests_per_unit: 100}}}}
"""


def overlays():
    for page in sorted((ROOT / "docs").glob("*.md")):
        for number, block in enumerate(map(textwrap.dedent, BLOCK.findall(page.read_text()))):
            if block.startswith("overlay:"):
                yield pytest.param(block, id=f"{page.name}-{number}")


@pytest.mark.parametrize("block", list(overlays()))
def test_the_overlays_of_the_pages_are_valid(block):
    """Each of them has an entry."""
    assert read_overlay("page", block.encode()).entries


@pytest.mark.parametrize(
    ("domain", "found"),
    [
        ("default/eg/http", ("token_bucket", 50, "local", "unsaid")),
        ("default/eg/llm", ("token_bucket", 100, "local", "after")),
        ("other/gw/tls", ("token_bucket", 100, "local", "unsaid")),
    ],
)
def test_the_example_gives_envoy_gateways_limits_token_buckets(domain, found):
    """As its comments say, for limits as Envoy Gateway writes them."""
    overlay, faults = find_overlay(OverlayFile(str(EXAMPLE)))
    parsed = examine([("p.yaml", LISTENER.format(domain).encode())], overlay=overlay)
    (limit,) = parsed.rows[-1].limits
    rate = limit.rate
    told = (rate.algorithm, rate.burst, limit.on_store_failure.name.lower(), limit.charge.name.lower())
    assert (told, faults, parsed.errors) == (found, (), [])
