"""The gateway files people start from: the default one and the examples."""

from pathlib import Path

import pytest

from ratelimitd.gateway.default import default_file
from ratelimitd.gateway.file import domain_of, read_gateway
from ratelimitd.gateway.routing import Router
from ratelimitd.limiter import LimitRequest, Planner, PlanOptions, Tallies, key_maker
from ratelimitd.policy import PolicyErrors, assemble
from ratelimitd.sources import GATEWAY_ALGORITHM, GatewayFile, examine_source

from .files import ask

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "gateway").glob("*.yaml"))


@pytest.fixture
def default(tmp_path):
    """The default file, written: its Gateway and its policy."""
    path = tmp_path / "gateway.yaml"
    path.write_text(default_file())
    return _loaded(path)


def _loaded(path):
    parsed, warnings, *_ = examine_source(GatewayFile(str(path)), default_algorithm=GATEWAY_ALGORITHM)
    assert (parsed.errors, warnings) == ([], [])
    return read_gateway(path.name, path.read_bytes()), assemble(parsed.rows)


@pytest.mark.parametrize("path", ["/", "/api/expensive", "/API/Expensive/"])
@pytest.mark.parametrize(
    ("key", "burst", "expensive"),
    [("api-key:premium", 200, 60), ("api-key:standard", 20, 10), ("invented", 10, 5), (None, 10, 5)],
)
def test_the_default_limits_by_tier_and_endpoint(default, path, key, burst, expensive):
    """Buckets for the two keys, less for everybody else by address, and a sliding window on what is expensive."""
    made, policy = default
    headers = [("X-API-Key", key)] if key else []
    descriptors = ask(Router(made), path=path, headers=headers)[1]
    planner = Planner(policy, key_maker(b"", safe=True), Tallies(), PlanOptions())
    plan = planner.plan(LimitRequest(domain_of(made, policy).name, descriptors))
    rates = [(charge.limit.rate.algorithm, charge.limit.rate.burst) for charge in plan.charges]
    assert rates == [("token_bucket", burst)] + [("sliding_window", expensive)] * (path != "/")


def test_the_default_takes_the_two_addresses_it_needs():
    """As they are; what is wrong with them is an error of the file, never another meaning."""
    made = read_gateway("g", default_file("127.0.0.1:9", "https://app.internal").encode())
    assert made.listen == ("127.0.0.1", 9)
    assert str(made.upstreams["app"].endpoints[0]) == "app.internal:443"
    for listen, url in (("nowhere", "http://a"), (":1", 'http://a"\nroutes: []'), (":1", "")):
        with pytest.raises(PolicyErrors):
            read_gateway("g", default_file(listen, url).encode())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_loads(path):
    """Without an error or a warning, and its domain is clear."""
    made, policy = _loaded(path)
    assert domain_of(made, policy)
    assert Router(made)


def test_there_are_examples():
    """Or the test above would promise nothing."""
    assert len(EXAMPLES) >= 2
