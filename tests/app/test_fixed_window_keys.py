"""FIXED_WINDOW_KEYS: which names the counters of a service have, what it says of them, and what a caller can do."""

import json

import aiohttp
import pytest
from structlog.testing import capture_logs

from ratelimitd.app.engine import build
from ratelimitd.app.policies import Policies, source_of
from ratelimitd.limiter import LimitRequest
from ratelimitd.policy import Descriptor, Override, Unit
from ratelimitd.settings import load
from testkit.redis_server import redis_server
from tests.service import service

pytestmark = pytest.mark.process

SHARED = """\
domain: d
descriptors:
  - {key: tenant, rate_limit: {unit: year, requests_per_unit: 3}}
  - key: tenant
    value: alice
    descriptors: [{key: hot, rate_limit: {unit: year, requests_per_unit: 3}}]
  - {key: zone, rate_limit: {unit: year, requests_per_unit: 3}}
"""
TENANT, HOT, ZONE = (b"tenant", b"t"), (b"hot", b"x"), (b"zone", b"z")
ALICE = (b"tenant", b"alice")
ELSEWHERE = {"REDIS_URL": "localhost:1"}
"""Redis that is not there: policies are loaded without it."""


async def loaded(path, text, **env):
    """A service's policies with this text in force."""
    path.write_text(text)
    settings = load(env, {})
    parts = build(settings)
    policies = Policies(source_of(settings, (str(path),)), settings, parts)
    await policies.reload()
    return policies, parts


def keys(parts, *described, override=None):
    """The names of the counters of descriptors with these entries."""
    request = LimitRequest(b"d", tuple(Descriptor(entries, override) for entries in described))
    return [charge.key for charge in parts.engine.planner.plan(request).charges]


MODES = {
    "upstream": (["d_tenant_t_", "d_tenant_alice_hot_x_", "d_zone_z_"], "d_zone_z_"),
    "auto": (["rl1:", "rl1:", "d_zone_z_"], "rl1:"),
    "safe": (["rl1:", "rl1:", "rl1:"], "rl1:"),
}


@pytest.mark.parametrize("mode", MODES)
async def test_each_value_gives_its_names(tmp_path, mode):
    """upstream: byte for byte; auto: safe keys for limits that can share a counter, and overrides; safe: for all.

    envoyproxy/ratelimit has no windows of several units, so an override with one has a safe key.
    """
    named, overridden = MODES[mode]
    _, parts = await loaded(tmp_path / "policy.yaml", SHARED, FIXED_WINDOW_KEYS=mode, **ELSEWHERE)
    asked = keys(parts, (TENANT,), (ALICE, HOT), (ZONE,))
    assert [key.decode()[: len(name)] for key, name in zip(asked, named, strict=True)] == named
    (own,) = keys(parts, (ZONE,), override=Override(5, Unit.YEAR))
    assert own.decode()[: len(overridden)] == overridden
    (several,) = keys(parts, (ZONE,), override=Override(5, Unit.YEAR, 10))
    assert several.startswith(b"rl1:")


@pytest.mark.parametrize("mode", MODES)
async def test_counters_in_memory_always_have_safe_keys(tmp_path, mode):
    """No other service shares them, so nothing is said of them either."""
    with capture_logs() as logs:
        _, parts = await loaded(tmp_path / "policy.yaml", SHARED, FIXED_WINDOW_KEYS=mode)
    asked = [*keys(parts, (TENANT,), (ALICE, HOT), (ZONE,)), *keys(parts, (ZONE,), override=Override(5, Unit.YEAR))]
    assert all(key.startswith(b"rl1:") for key in asked)
    assert [line for line in logs if "share" in line["event"]] == []


async def warnings_of(folder, policy, **env):
    """What a load with a Redis says of limits that can share a counter."""
    with capture_logs() as logs:
        await loaded(folder / "policy.yaml", policy, **env, **ELSEWHERE)
    return [line["event"] for line in logs if "share a counter" in line["event"]]


@pytest.mark.parametrize("mode", MODES)
async def test_a_load_names_the_limits_in_one_warning(tmp_path, mode):
    """With upstream's names in Redis; a comment in the file takes a limit out of it."""
    told = await warnings_of(tmp_path, SHARED, FIXED_WINDOW_KEYS=mode)
    words = "2 limits can share a counter in Redis: 'd.tenant', 'd.tenant_alice.hot'; "
    assert [words in line for line in told] == ([True] if mode == "upstream" else [])
    off = SHARED.replace("3}}\n  - key: tenant", "3}}  # lint: off shared-counter\n  - key: tenant")
    told = await warnings_of(tmp_path, off, FIXED_WINDOW_KEYS=mode)
    assert ["1 limit can share" in line for line in told] == ([True] if mode == "upstream" else [])


async def test_the_warning_is_bounded(tmp_path):
    """Of 500 limits it names the first ten, and the number of the others."""
    limit = "rate_limit: {unit: year, requests_per_unit: 3}"
    lines = "".join(f"  - {{key: k{n}x, descriptors: [{{key: b, {limit}}}]}}\n" for n in range(500))
    (told,) = await warnings_of(tmp_path, f"domain: d\ndescriptors:\n{lines}")
    assert told.count("'") == 20
    assert "500 limits" in told
    assert "and 490 more" in told


async def test_long_names_make_no_long_warning(tmp_path):
    """Each name is cut, since keys may have any length."""
    limit = "rate_limit: {unit: year, requests_per_unit: 3}"
    lines = "".join(f"  - {{key: k{n}{'x' * 5_000}, descriptors: [{{key: b, {limit}}}]}}\n" for n in range(9))
    (told,) = await warnings_of(tmp_path, f"domain: d\ndescriptors:\n{lines}")
    assert len(told) < 2_000
    assert "'d.k8xxx" in told


@pytest.mark.parametrize("mode", MODES)
async def test_a_reload_names_the_limits_that_count_anew(tmp_path, mode):
    """With auto a change of one descriptor gives another one a new key; the other values give no such change."""
    path = tmp_path / "policy.yaml"
    policies, parts = await loaded(path, SHARED, FIXED_WINDOW_KEYS=mode, **ELSEWHERE)
    before = keys(parts, (TENANT,))
    path.write_text(SHARED.replace("    descriptors: [{key: hot, ", "    descriptors: [{key: hot, value: x, "))
    await policies.reload()
    assert keys(parts, (TENANT,)) == before
    path.write_text("".join(line for line in SHARED.splitlines(keepends=True) if "hot" not in line))
    with capture_logs() as logs:
        await policies.reload()
    (line,) = (line for line in logs if line["event"] == "policy loaded")
    if mode == "auto":
        assert keys(parts, (TENANT,)) == [b"d_tenant_t_"] != before
        assert (line["restarts"], line["restarted"]) == (1, ("d.tenant",))
        assert policies.active.changed.restarted == ("d.tenant",)
    else:
        assert keys(parts, (TENANT,)) == before
        assert "restarts" not in line


def request_of(*entries):
    return json.dumps({"domain": "d", "descriptors": [{"entries": [{"key": k, "value": v} for k, v in entries]}]})


async def over(running, *entries):
    async with aiohttp.request("POST", f"http://{running.http}/json", data=request_of(*entries)) as answer:
        return (await answer.json())["overallCode"]


@pytest.mark.redis
@pytest.mark.scenario("a caller that chooses the name of a counter")
@pytest.mark.parametrize("mode", MODES)
async def test_a_caller_that_chooses_a_value_spends_no_other_counter(tmp_path, mode):
    """With a real Redis: upstream's names let it, and the keys are upstream's; with auto and safe it spends its own."""
    (tmp_path / "policy.yaml").write_text(SHARED)
    with redis_server() as redis:
        env = {"REDIS_URL": redis.address, "FIXED_WINDOW_KEYS": mode}
        async with service("--config", str(tmp_path), env=env) as running:
            for _ in range(3):
                assert await over(running, ("tenant", "alice_hot_x")) == "OK"
            assert await over(running, ("zone", "z")) == "OK"
            victim = await over(running, ("tenant", "alice"), ("hot", "x"))
            told = [line for line in running.log if "share a counter" in str(line.get("@message"))]
        with redis.client() as client:
            names = {key.rpartition(b"_")[0] for key in client.scan_iter()}
    assert victim == ("OVER_LIMIT" if mode == "upstream" else "OK")
    assert [line["level"] for line in told] == (["warning"] if mode == "upstream" else [])
    assert (b"d_tenant_alice_hot_x" in names) == (mode == "upstream")
    assert (b"d_zone_z" in names) == (mode != "safe")
    assert len(names) == (2 if mode == "upstream" else 3)
