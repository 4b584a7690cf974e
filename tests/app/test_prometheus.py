"""PROMETHEUS_ADDR of a process: mapped names there, and all others on the HTTP port."""

import pytest

from tests.app.test_http_ports import ask
from tests.app.test_process import call
from tests.mapper.files import GATEWAY
from tests.service import service

pytestmark = pytest.mark.process

POLICY = """
domain: d
descriptors:
  - {key: user, value: x, rate_limit: {unit: day, requests_per_unit: 5}}
  - {key: user, value: y, shadow_mode: true, rate_limit: {unit: day, requests_per_unit: 0}}
"""
SHADOW = 'ratelimit_service_rate_limit_shadow_mode{domain="d",key1="user_y"} 1'
CALLS = 'ratelimit_service_total_requests{grpc_method="ShouldRateLimit"} 1'


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return str(path)


async def pages(policy, logged="", **env):
    """The pages of PROMETHEUS_ADDR and of the HTTP port after a call, with a line that the start has to log."""
    address = {"USE_PROMETHEUS": "true", "PROMETHEUS_ADDR": "127.0.0.1:0"}
    async with service("--config", policy, env={**address, **env}) as running:
        assert await call(running.grpc, user="y") == "OK"
        sink = (await running.logged("serving"))["prometheus"]
        assert logged in running.text
        return (await ask(sink, "/metrics"))[1], (await ask(running.http, "/metrics"))[1]


async def test_a_mapping_file_applies_at_the_address_of_prometheus(policy, tmp_path):
    """What it drops is not there, and ours is; /metrics of the HTTP port is as without a file."""
    path = tmp_path / "conf.yaml"
    path.write_text(GATEWAY)
    sink, page = await pages(policy, "metrics are mapped", PROMETHEUS_MAPPER_YAML=str(path))
    assert CALLS in sink
    assert SHADOW not in sink
    assert "ratelimitd_policy_rules 2" in sink
    assert {CALLS, SHADOW} <= {*page.splitlines()}


@pytest.mark.parametrize(
    ("content", "error"),
    [(None, "cannot be read"), ("mappings:\n  - {match: a}\n", "a mapping needs 'name' (line 2)")],
)
async def test_a_mapping_file_that_cannot_be_used_keeps_no_service_from_serving(policy, tmp_path, content, error):
    """The error is logged, and the names are those without a file; Envoy Gateway's ConfigMap is optional."""
    path = tmp_path / "conf.yaml"
    if content is not None:
        path.write_text(content)
    sink, _ = await pages(policy, error, PROMETHEUS_MAPPER_YAML=str(path))
    assert {CALLS, SHADOW} <= {*sink.splitlines()}


async def test_response_times_can_be_milliseconds(policy):
    """PROMETHEUS_RESPONSE_TIME_AS_MILLISECONDS is for dashboards made for an older envoyproxy/ratelimit."""
    sink, page = await pages(policy, PROMETHEUS_RESPONSE_TIME_AS_MILLISECONDS="true")
    name = 'ratelimit_service_response_time_seconds_sum{grpc_method="ShouldRateLimit"} '
    (millis,) = [float(line.rpartition(" ")[2]) for line in sink.splitlines() if line.startswith(name)]
    (seconds,) = [float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(name)]
    assert millis == int(seconds * 1000)
