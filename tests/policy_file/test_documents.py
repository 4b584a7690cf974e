"""The policies people read: the documentation's and the examples'."""

import re
from pathlib import Path

import pytest

from ratelimitd.algorithms import ALGORITHMS
from ratelimitd.policy import OnStoreFailure, Unit, match
from ratelimitd.policy.model import Descriptor
from ratelimitd.policy_file import examine, parse
from ratelimitd.policy_file.fields import OWN_KEYS, UPSTREAM_KEYS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "policies.md").read_text()
BLOCKS = re.findall(r"^```yaml\n(?!rate_limits:)(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
"""The policies of the page; it has lists of Envoy's too."""
EXAMPLES = [(path.name, path.read_bytes()) for path in sorted((ROOT / "examples" / "policies").iterdir())]


@pytest.mark.parametrize("block", BLOCKS)
def test_every_policy_of_the_page_loads(block):
    """Without an error."""
    parsed = examine([("policies.md", block.encode())], beside=lambda _, named: (named, b"premium: [some-key]"))
    assert parsed.errors == []


@pytest.mark.parametrize("word", [*sorted(UPSTREAM_KEYS | OWN_KEYS.keys()), *ALGORITHMS])
def test_the_page_has_an_example_of_every_key(word):
    """Every key and every algorithm stands in a policy that loads."""
    assert re.search(rf"\b{word}\b", "\n".join(BLOCKS))


def test_the_page_has_an_example_of_every_failure_policy():
    """All four are shown."""
    shown = re.findall(r"on_store_failure: (\w+)", "\n".join(BLOCKS))
    assert set(shown) == {member.name.lower() for member in OnStoreFailure}


def test_the_examples_are_one_policy():
    """All files of the folder load together."""
    parsed = examine(EXAMPLES)
    assert (parsed.errors, parsed.summary.domains) == ([], 2)


@pytest.mark.parametrize(
    ("domain", "entries", "limits"),
    [
        (b"demo", [(b"user", b"alice")], [(5, Unit.MINUTE)]),
        (b"demo", [(b"user", b"premium")], [(50, Unit.MINUTE)]),
        (b"demo", [(b"path", b"/login"), (b"method", b"POST")], [(2, Unit.SECOND)]),
        (b"shop", [(b"user", b"alice")], [(10, Unit.SECOND)]),
        (b"shop", [(b"tenant", b"acme")], [(50, Unit.SECOND), (20000, Unit.HOUR)]),
        (b"shop", [(b"tenant", b"acme"), (b"path", b"/checkout")], [(30, Unit.MINUTE)]),
    ],
)
def test_the_examples_limit_what_they_say(domain, entries, limits):
    """The commands in README and help meet these limits."""
    found = match(parse(EXAMPLES).domains[domain], Descriptor(tuple(entries)))
    assert found is not None
    assert [(limit.requests_per_unit, limit.unit) for limit in found.limits] == limits
