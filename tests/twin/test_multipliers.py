"""Windows of several units, in the headers of both."""

import pytest

from testkit.envoy import upstream

from .files import generic, written
from .twins import send, twins

pytestmark = [pytest.mark.envoy, pytest.mark.process, pytest.mark.slow]

RATES = {
    "minutes": {"unit": "minute", "unit_multiplier": 10},
    "weeks": {"unit": "week", "unit_multiplier": 2},
    "years": {"unit": "year", "unit_multiplier": 71},
    "one": {"unit": "minute"},
}
LISTED = {"minutes": 600, "weeks": 1_209_600, "years": 2_239_056_000, "one": 60}
"""Seconds of each window."""


def files(folder, app):
    """Write a gateway file with a route for each rate, and its policy."""
    limits = [
        {"key": "of", "value": name, "rate_limit": {**rate, "requests_per_unit": 10}} for name, rate in RATES.items()
    ]
    routes = [{"match": {"path": f"/{name}"}, "rate_limits": [{"actions": [generic("of", name)]}]} for name in RATES]
    gateway = {
        "listen": "127.0.0.1:0",
        "upstreams": {"app": {"url": f"http://{app}"}},
        "routes": routes,
        "policies": "policy.yaml",
    }
    return written(folder, gateway, {"domain": "twin", "descriptors": limits})


@pytest.mark.parametrize("setting", ["true", "false"])
async def test_both_tell_windows_of_several_units_by_the_setting(tmp_path, setting):
    """With STATUS_UNIT_MULTIPLIER Envoy 1.40 prints them, and so does the proxy; else only windows of one unit."""
    async with upstream() as app:
        envs = [{"STATUS_UNIT_MULTIPLIER": setting}] * 2
        async with twins(*files(tmp_path, app), tmp_path, envs) as urls:
            told = [{name: (await send(url, "GET", f"/{name}", [], "127.0.0.1"))[1] for name in RATES} for url in urls]
    listed = {name for name, rate in RATES.items() if setting == "true" or "unit_multiplier" not in rate}
    expected = {name: f"10, 10;w={LISTED[name]}" if name in listed else "10" for name in RATES}
    assert told == [expected, expected]
