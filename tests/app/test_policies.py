"""Policies as they come into force."""

import asyncio
from contextlib import suppress

import pytest

from ratelimitd.app.engine import build
from ratelimitd.app.policies import Policies, source_of
from ratelimitd.limiter import Planner
from ratelimitd.settings import load

pytestmark = pytest.mark.process

ONE = """\
domain: d
descriptors: [{key: a, rate_limit: {unit: hour, requests_per_unit: 1}, on_store_failure: allow}]
"""
TWO = """\
domain: d
descriptors:
  - {key: a, rate_limit: {unit: hour, requests_per_unit: 1}}
  - {key: b, rate_limit: {unit: hour, requests_per_unit: 1}}
"""


async def test_facts_change_in_the_same_step_as_the_planner(tmp_path):
    """Nothing that runs beside a reload sees the new planner with the facts of the old policy, or the reverse."""
    path, settings = tmp_path / "policy.yaml", load({}, {})
    parts = build(settings)
    path.write_text(ONE)
    policies = Policies(source_of(settings, (str(path),)), settings, parts)
    await policies.reload()
    seen: list[tuple[Planner | None, int, int, bool]] = []

    async def look():
        while True:
            facts = policies.active
            seen.append((parts.engine.planner, facts.generation, facts.limits, facts.needs_store))
            await asyncio.sleep(0)

    looking = asyncio.create_task(look())
    await asyncio.sleep(0)
    old = parts.engine.planner
    path.write_text(TWO)
    await policies.reload()
    looking.cancel()
    with suppress(asyncio.CancelledError):
        await looking
    assert set(seen) == {(old, 1, 1, False), (parts.engine.planner, 2, 2, True)}


async def test_a_refused_policy_changes_no_fact_of_the_one_in_force(tmp_path):
    """Its errors stand beside them, until a good one comes."""
    path, settings = tmp_path / "policy.yaml", load({}, {})
    policies = Policies(source_of(settings, (str(path),)), settings, build(settings))
    path.write_text(ONE)
    await policies.reload()
    good = policies.active
    path.write_text("domain: [")
    await policies.reload()
    assert policies.active.refused
    assert policies.active._replace(refused=()) == good
    path.write_text(ONE)
    await policies.reload()
    assert policies.active.refused == ()
    assert policies.active.generation == 2
