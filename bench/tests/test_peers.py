"""Peers: the syntax of --peer, the files that they load, and what ours is of theirs."""

import pytest
import yaml
from click.testing import CliRunner

from bench import beside, rls
from bench.__main__ import main
from bench.builds import GRPCIO, INTERPRETED, SHIPPED
from bench.peer_services import peer
from bench.policy import KEYS, SIZES, domain, limitador, peer_files, requests
from ratelimitd.policy_file import parse
from ratelimitd.proto import message
from testkit.server import Subject

GO = Subject("go", "h:1", 7, store="redis")


def test_a_peer_is_a_name_an_address_and_a_store():
    """The pids of the service and of its Redis may follow, in any order; hosts may be IPv6 addresses."""
    assert peer("go=localhost:8081,store=redis") == Subject("go", "localhost:8081", store="redis")
    expected = Subject("go", "[::1]:8081", 42, store="redis", redis=(43,))
    assert peer("go=[::1]:8081,redis=43,store=redis,pid=42") == expected


@pytest.mark.parametrize(
    "text",
    [
        "go", "go=h:1", "go=localhost,store=redis", "=h:1,store=redis", "go=h:1,store=disk", "go=h:x,store=redis",
        "go=h:1,store=redis,pid=x", "go=h:1,store=redis,cpu=2", "go=h:1,store=redis,redis=", "go=h:1,store=redis,pid",
    ],
)  # fmt: skip
def test_a_peer_that_cannot_be_is_refused_with_the_form(text):
    """An invalid peer is an error that shows the syntax."""
    with pytest.raises(ValueError, match=r"NAME=memory.*NAME=HOST:PORT"):
        peer(text)


@pytest.mark.parametrize("name", [SHIPPED, INTERPRETED, GRPCIO, "nghttp2"])
def test_a_peer_may_not_take_the_name_of_one_of_ours(name):
    """Two services never share a row."""
    said = CliRunner().invoke(main, ["policy", "--peer", f"{name}=h:1,store=redis"])
    assert said.exit_code == 2
    assert "give the peer another name" in said.output


def test_peers_load_the_domain_of_each_number_of_descriptors():
    """Each file of envoyproxy/ratelimit is a policy of one domain with a limit for each descriptor of a request."""
    files = {name: text for name, text in peer_files().items() if name.startswith("ratelimit/config/")}
    assert len(files) == len(SIZES)
    parsed = parse([(name, text.encode()) for name, text in files.items()])
    assert set(parsed.domains) == {domain(size).encode() for size in SIZES}
    assert sum(len(node.limits) for node in parsed.nodes) == sum(SIZES)


def test_limitador_counts_each_descriptor_of_a_request_and_tries_no_more_limits():
    """A domain has as many limits as a request has descriptors; each counts by the value of one."""
    limits = yaml.safe_load(limitador())
    for size in SIZES:
        own = [each for each in limits if each["namespace"] == domain(size)]
        read = message("envoy.service.ratelimit.v3.RateLimitRequest").FromString(next(requests(size))[5:])
        sent = [f"descriptors[{place}].{each.entries[0].key}" for place, each in enumerate(read.descriptors)]
        assert [each["variables"] for each in own] == [[name] for name in sent]
    assert len(KEYS) == max(SIZES)


def test_a_ratio_is_of_rounds():
    """A slow minute of the machine, which slows both, is in no ratio; a peer has none."""
    rounds = {
        SHIPPED: [{"rate": 100.0, "cpu": 1.0}, {"rate": 10.0, "cpu": 3.0}, {"rate": 90.0, "cpu": 1.0}],
        "go": [{"rate": 50.0, "cpu": 2.0}, {"rate": 5.0, "cpu": 6.0}, {"rate": 45.0, "cpu": 2.0}],
    }
    found = beside.of_peers(rounds, ["rate", "cpu"])
    assert found.keys() == {SHIPPED}
    assert {key: each.median for key, each in found[SHIPPED].items()} == {"rate/go": 2.0, "cpu/go": 0.5}
    assert found[SHIPPED]["rate/go"].least == found[SHIPPED]["rate/go"].most == 2.0


def test_a_number_that_a_peer_does_not_have_has_no_ratio():
    """A peer without a pid has no CPU."""
    rounds = {SHIPPED: [{"rate": 100.0, "cpu": 1.0}], "go": [{"rate": 50.0}]}
    assert beside.of_peers(rounds, ["rate", "cpu"])[SHIPPED].keys() == {"rate/go"}


def test_a_row_has_the_ratios_to_each_peer_in_the_order_of_the_columns():
    """Where there is none the cell is empty."""
    rounds = {SHIPPED: [{"rate": 100.0}], INTERPRETED: [], "go": [{"rate": 50.0}]}
    other = Subject("limitador", "h:2", store="memory")
    mine, theirs = beside.rows({"case": "Redis"}, rounds, 1, [*rls.RATIOS])
    titles = beside.columns([GO, other], rls.RATIOS)
    assert dict(zip(titles, beside.cells(mine, [GO, other], rls.RATIOS), strict=True)) == {
        "calls/s ÷ go": "2.00", "CPU ÷ go": "", "alone p50 ÷ go": "",
        "calls/s ÷ limitador": "", "CPU ÷ limitador": "", "alone p50 ÷ limitador": "",
    }  # fmt: skip
    assert set(beside.cells(theirs, [GO, other], rls.RATIOS)) == {""}


def test_a_service_that_missed_a_round_has_no_row():
    """A number of fewer rounds would be of another machine."""
    rounds = {SHIPPED: [{"rate": 1.0}, {"rate": 2.0}], "go": [{"rate": 1.0}]}
    assert [row["by"] for row in beside.rows({"case": "Redis"}, rounds, 2, ["rate"])] == [SHIPPED]
