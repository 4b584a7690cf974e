"""The memory of the containers holds what the settings may take, and the page adds it up."""

import pytest

from ratelimitd.app.memory import MIB, grpc_connections, shares, shortage, total
from ratelimitd.settings import load
from testkit.page import replaced
from tests.k8s.sums import COLUMNS, PAGE, PART, POLICY, table


@pytest.mark.parametrize("column", COLUMNS)
def test_a_container_holds_the_sum(column):
    """The manifests' limits suffice for a policy of a whole ConfigMap, so that their pods start without a warning."""
    settings, memory = COLUMNS[column]

    assert shortage(settings, memory, POLICY) is None
    assert total(shares(settings, memory, POLICY)) <= memory


def test_the_page_adds_up_what_the_function_does():
    """docs/operations.md has the table; ``python -m tests.k8s.sums`` writes it anew."""
    page = PAGE.read_text()

    assert replaced(page, PART, table()) == page


def test_a_policy_of_the_page_costs_what_the_page_says():
    """Each further MiB of policy files costs 64 of memory."""
    (settings, memory), *_ = COLUMNS.values()
    more = total(shares(settings, memory, 2 * POLICY)) - total(shares(settings, memory, POLICY))

    assert f"each MiB of policy files costs {more // MIB} MiB" in " ".join(PAGE.read_text().split())


def test_the_page_says_how_many_connections_there_are_with_tls():
    """As many as a quarter of 512Mi holds."""
    env = {"GRPC_SERVER_USE_TLS": "true", "GRPC_SERVER_TLS_CERT": "c", "GRPC_SERVER_TLS_KEY": "k"}

    assert f"holds {grpc_connections(load(env, {}), 512 * MIB):,} of them" in " ".join(PAGE.read_text().split())
