"""The gateway file that --upstream, --limit and --by stand for."""

import pytest

from ratelimitd.gateway.file import domain_of, read_gateway
from ratelimitd.gateway.from_flags import CallerLimits, file_of_flags, in_words
from ratelimitd.gateway.routing import Router
from ratelimitd.limiter import LimitRequest, Planner, PlanOptions, Tallies, key_maker
from ratelimitd.policy import assemble
from ratelimitd.sources import GATEWAY_ALGORITHM, GatewayFile, examine_source

from .files import ask

TWO = ((10, "second"), (1000, "day"))


@pytest.fixture
def charged(tmp_path):
    """Write the file and load it; returns a function from a request to its counters, and their rates."""

    def load(by, quotas=TWO):
        path = tmp_path / "gateway.yaml"
        path.write_text(file_of_flags(":1", "http://app.internal", CallerLimits(quotas, by)))
        parsed, warnings, *_ = examine_source(GatewayFile(str(path)), default_algorithm=GATEWAY_ALGORITHM)
        assert (parsed.errors, warnings) == ([], [])
        made, policy = read_gateway(path.name, path.read_bytes()), assemble(parsed.rows)
        assert (made.listen, str(made.upstreams["app"].endpoints[0])) == (("", 1), "app.internal:80")
        planner = Planner(policy, key_maker(b"", safe=True), Tallies(), PlanOptions())

        def charges(address="192.0.2.1", **headers):
            descriptors = ask(Router(made), headers=headers.items(), address=address)[1]
            plan = planner.plan(LimitRequest(domain_of(made, policy).name, descriptors))
            rates = [(each.limit.rate.algorithm, each.limit.rate.quota) for each in plan.charges]
            return [each.key for each in plan.charges], rates

        return charges

    return load


def test_every_caller_has_every_limit(charged):
    """Short units are buckets, so that bursts pass; long ones never admit much more than their number."""
    for by, headers in (("address", {}), ("x-api-key", {}), ("x-api-key", {"X-API-Key": "a"})):
        _, rates = charged(by)(**headers)
        assert rates == [("token_bucket", 10), ("sliding_window_counter", 1000)]


def test_callers_are_told_apart_by_the_header(charged):
    """A key has its counters at any address; an empty key is a key too; without the header the address counts."""
    charges = charged("x-api-key")
    alice, bob, empty, none = ({"X-API-Key": "alice"}, {"X-API-Key": "bob"}, {"X-API-Key": ""}, {})
    counters = [str(charges(**headers)[0]) for headers in (alice, bob, empty, none)]
    assert len(set(counters)) == 4
    assert charges("198.51.100.7", **alice) == charges(**alice)
    assert charges("198.51.100.7") != charges()


def test_addresses_of_one_ipv6_network_are_one_caller(charged):
    """A /64 is what one client has; an IPv4 address stands alone."""
    charges = charged("address")
    assert charges("2001:db8::1") == charges("2001:db8::2")
    assert charges("2001:db8::1") != charges("2001:db8:0:1::1")
    assert charges("192.0.2.1") != charges("192.0.2.2")


@pytest.mark.parametrize("by", ["null", "1_5", "yes", "-", "x-tenant"])
def test_any_header_may_tell_callers_apart(charged, by):
    """Its name is text, whatever YAML would read it as."""
    keys, rates = charged(by)(**{by: "a"})
    assert rates[0] == ("token_bucket", 10)
    assert keys != charged(by)()[0]


def test_the_file_begins_with_what_it_means_and_how_to_print_it():
    """The command is one that prints this file."""
    first, _, command, *_ = file_of_flags(":8080", "http://a", CallerLimits(TWO, "x-api-key")).splitlines()
    assert first == (
        "# 10 per second and 1000 per day for each value of x-api-key, and for each client address without one."
    )
    assert command.startswith("#   ratelimitd proxy --upstream http://a --limit 10/second --limit 1000/day --by x-api")
    assert in_words(CallerLimits(((5, "minute"),), "address")) == "5 per minute for each client address"
