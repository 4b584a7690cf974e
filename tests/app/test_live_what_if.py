"""/live/what-if of a running service."""

import asyncio

import pytest

from tests.app.test_admin_api import admin, charge, policy_file
from tests.service import service

pytestmark = pytest.mark.process

POLICY = """
domain: d
descriptors:
  - {key: user, rate_limit: {unit: day, requests_per_unit: 10}}
  - {key: open, rate_limit: {unlimited: true}}
  - {key: places, rate_limit: {concurrent: 5}}
"""


async def ids(running):
    """The ids of the limits, by their names."""
    status, told = await admin(running, "/live/limits?sort=name", token="")
    assert status == 200, told
    return {row["name"]: row["id"] for row in told["limits"]}


async def with_history(running, which, hits):
    """Wait until the steps of a limit are complete that have its hits."""
    while True:
        _, told = await admin(running, f"/live/limit?id={which}", token="")
        history = told["history"]
        if history and sum(history["allowed"]) + sum(history["denied"]) == hits:
            return told
        await asyncio.sleep(0.2)


async def test_the_last_hour_with_other_numbers(tmp_path):
    """Of 15 hits 10 passed: with a limit of 12 it had been 12, with an unchanged one 10, and 1 in a bucket of 1."""
    async with service("--config", policy_file(tmp_path, POLICY)) as running:
        which = (await ids(running))["d.user"]
        for _ in range(15):
            await charge(running, "user")
        real = await with_history(running, which, 15)

        async def replayed(query=""):
            status, told = await admin(running, f"/live/what-if?id={which}{query}", token="")
            assert status == 200, told
            return told

        told = await replayed("&requests_per_unit=12")
        assert sum(told["changed"]["allowed"]) == 12
        for kind in ("allowed", "denied"):
            assert sum(told["configured"][kind]) == sum(real["history"][kind])
        assert (told["configured"]["summary"], told["changed"]["summary"]) == ("10 per day", "12 per day")
        assert (told["limit"]["id"], told["step"], told["keys"], told["version"]) == (which, 10, 1, 1)
        assert sum((await replayed())["changed"]["allowed"]) == 10
        bucket = await replayed("&algorithm=token_bucket&burst=1")
        assert (bucket["changed"]["algorithm"], bucket["changed"]["burst"]) == ("token_bucket", 1)
        assert sum(bucket["changed"]["allowed"]) == 1


async def test_what_cannot_be_replayed_is_refused(tmp_path):
    """An unlimited limit, one on requests in progress, and numbers that the policy file refuses too."""
    async with service("--config", policy_file(tmp_path, POLICY)) as running:
        known = await ids(running)
        wrong = {
            f"{known['d.open']}": "an unlimited limit has no counter",
            f"{known['d.places']}": "a limit on requests in progress cannot be replayed",
            f"{known['d.user']}&burst=5": "burst is for token_bucket, gcra and leaky_bucket",
        }
        for query, words in wrong.items():
            status, told = await admin(running, f"/live/what-if?id={query}", token="")
            assert (status, words in told["error"]) == (400, True), told
        assert (await admin(running, f"/live/what-if?id={'0' * 16}", token=""))[0] == 404
