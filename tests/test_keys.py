"""Each key that a policy file, an overlay or a gateway file may hold has a test of what it does."""

from pathlib import Path

import pytest

from ratelimitd.gateway.file import gateway_reader
from ratelimitd.policy_file.fields import LEVELS, TOP
from ratelimitd.policy_file.overlay import FILE, OF_DOMAIN, OF_LIMIT
from ratelimitd.policy_file.tiers import IDENTITY
from tests.collected import collected
from tests.config.key_paths import key_paths
from tests.keys import GATEWAY_KEYS, OVERLAY_KEYS, POLICY_KEYS

ROOT = Path(__file__).parents[1]


def policy_keys():
    """Every key of the policy parser's tables."""
    levels = {"" if level == TOP else level: keys for level, keys in LEVELS.items()}
    return {f"{level}.{key}".lstrip(".") for level, keys in levels.items() for key in keys}


def test_every_key_of_a_policy_file_has_a_test():
    """The table has the keys of the parser's levels and no other."""
    assert policy_keys() == set(POLICY_KEYS)
    assert IDENTITY.keys is LEVELS["identity"]


def test_every_key_of_an_overlay_has_a_test():
    """The table has the keys of its reader, and what an entry says is read as in a policy file."""
    assert {".".join(path) for path in key_paths(FILE)} == set(OVERLAY_KEYS)
    assert all(reader is LEVELS[TOP][key] for key, reader in OF_DOMAIN.items())
    assert all(reader is LEVELS["rate_limits"][key] for key, reader in OF_LIMIT.items())


@pytest.mark.parametrize("for_envoy", [True, False], ids=["envoy", "proxy"])
def test_every_key_of_a_gateway_file_has_a_test(for_envoy):
    """The table has the keys of the parser's readers and no other, for the proxy and for Envoy."""
    assert {".".join(path) for path in key_paths(gateway_reader(for_envoy=for_envoy))} == set(GATEWAY_KEYS)


@pytest.mark.process
@pytest.mark.slow
def test_every_test_of_the_tables_exists():
    """Each is one that pytest collects."""
    assert {*POLICY_KEYS.values(), *OVERLAY_KEYS.values(), *GATEWAY_KEYS.values()} <= set(collected())


@pytest.mark.parametrize("table", [POLICY_KEYS, OVERLAY_KEYS, GATEWAY_KEYS], ids=["policy", "overlay", "gateway"])
def test_every_test_of_the_tables_mentions_its_key(table):
    """The file of the test has the key's name, so a test that no longer sets it is noticed."""
    unmentioned = [
        (key, test)
        for key, test in table.items()
        if key.rpartition(".")[2] not in (ROOT / test.partition("::")[0]).read_text()
    ]
    assert unmentioned == []
