"""What the extras bring; scripts/smoke installs them after the other tests."""

import pytest

pytestmark = [pytest.mark.process, pytest.mark.extras]


def test_envoy(installed):
    """``ratelimitd[envoy]`` generates Envoy's configuration."""
    (installed.folder / "gateway.yaml").write_text(
        installed.run("ratelimitd", "proxy", "--upstream", "http://localhost:1", "--print-config")
    )
    installed.run("ratelimitd", "envoy", "gateway.yaml", "-o", "envoy.yaml")
    assert "envoy.filters.http.ratelimit" in (installed.folder / "envoy.yaml").read_text()


def test_plot(installed):
    """``ratelimitd[plot]`` draws a simulation."""
    (installed.folder / "policy.yaml").write_text(
        "domain: shop\ndescriptors: [{key: user, rate_limit: {unit: minute, requests_per_unit: 2}}]\n"
    )
    simulated = ("simulate", "--config", "policy.yaml", "-d", "shop", "user=a", "--rate", "1/s", "--for", "1m")
    installed.run("ratelimitd", *simulated, "--plot", "shown.svg")
    assert (installed.folder / "shown.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_otel(protocol, installed):
    """``ratelimitd[otel]`` lets the service start with tracing, by either protocol."""
    tracing = {"TRACING_ENABLED": "true", "TRACING_EXPORTER_PROTOCOL": protocol}
    with installed.running("serve", **tracing) as (process, _):
        assert process.poll() is None
