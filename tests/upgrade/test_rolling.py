"""An upgrade and its rollback, replica by replica on one Redis, under traffic."""

from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.upgrade.asking import OK, OVER_LIMIT, replica
from tests.upgrade.forms import FORMS, PLACES, QUOTA, RESERVING, asked, quota_of
from tests.upgrade.test_forms import fits, made
from tests.upgrade.traffic import PLAIN, Traffic
from tests.upgrade.versions import script_of

pytestmark = [pytest.mark.process, pytest.mark.redis, pytest.mark.slow]


REFILLED = 1
"""Requests that a bucket of a year may have got back during a test, and its rounding."""


class Fleet:
    """Replicas of one or two versions, all of which get requests."""

    def __init__(self, folder, redis):
        self.live = []
        self._ends = []
        self._folder = folder
        self._redis = redis

    async def start(self, version):
        """Start a replica; it gets requests once it serves."""
        stack = AsyncExitStack()
        self.live.append(await stack.enter_async_context(replica(version, self._folder, self._redis)))
        self._ends.append(stack)

    async def stop(self):
        """End the oldest replica, as a rolling update does, when it has answered what it got before it left."""
        oldest, stack = self.live.pop(0), self._ends.pop(0)
        await oldest.idle()
        oldest.running.terminate()
        assert await oldest.running.ended() == 0
        await stack.aclose()
        assert [line for line in oldest.running.log if line.get("level") == "error"] == []

    async def close(self):
        """End all replicas."""
        while self._ends:
            await self._ends.pop().aclose()


@asynccontextmanager
async def fleet(folder, redis, *versions):
    """Run replicas of these versions."""
    running = Fleet(folder, redis)
    try:
        for version in versions:
            await running.start(version)
        yield running
    finally:
        await running.close()


async def forms_of(version, policy, redis):
    """Return the number of the form that the keys of each row have in a version."""
    async with replica(version, policy, redis) as service:
        found = await made(service, redis)
    redis.ask("FLUSHALL")
    return {
        name: next(number for number, form in enumerate(row.forms) if fits(form, found[name]))
        for name, row in FORMS.items()
    }


@pytest.mark.parametrize("way", ["upgrade", "rollback"])
async def test_a_rolling_change_of_the_version(way, old, new, policy, redis):
    """No call fails, nothing above a limit passes where its key kept its form, and at most twice the limit elsewhere.

    What has passed is what both versions find in the counters, and places are shared. Redis also loses all scripts.
    """
    before, after = (old, new) if way == "upgrade" else (new, old)
    forms = [await forms_of(version, policy, redis) for version in (old, new)]
    changed = {row.asked.entries[0][0] for name, row in FORMS.items() if forms[0][name] != forms[1][name]}

    async with fleet(policy, redis, before, before) as replicas:
        traffic = Traffic(replicas.live)
        async with traffic:
            await traffic.go_on()
            await replicas.start(after)
            await replicas.stop()
            await traffic.go_on()
            redis.ask("SCRIPT", "FLUSH")
            await traffic.go_on()
        assert redis.ask("SCRIPT", "EXISTS", script_of(old), script_of(new)) == [1, 1]
        await compare(replicas.live, traffic, changed)
        async with traffic:
            await replicas.start(after)
            await replicas.stop()
            await traffic.go_on()
        await compare(replicas.live, traffic, changed)
        for (key, value), hits in traffic.admitted.items():
            assert 0 < hits <= QUOTA[value] * (2 if key in changed else 1), (key, value)
        assert 0 < traffic.most <= quota_of(PLACES, "small") * (2 if PLACES in changed else 1)
        redis.ask("FLUSHALL")
        await within_one_limit(replicas.live)


async def compare(replicas, traffic, changed):
    """Compare what has passed with what each replica finds left of the limits that are not used up."""
    for each in replicas:
        for key in (*PLAIN, *RESERVING):
            lease, hits = None, 1
            if key in RESERVING:
                lease = (await each.ask(asked(key), 0)).dynamic_metadata["lease"]
            answer = await each.ask(asked(key), hits, lease)
            traffic.admitted[key, "large"] += hits
            (status,) = answer.statuses
            refilled = status.limit_remaining - (QUOTA["large"] - traffic.admitted[key, "large"])
            assert key in changed or 0 <= refilled <= REFILLED, key


async def within_one_limit(replicas):
    """Ask for each limit in a new window until it is used up: all replicas together let pass what it says."""
    for key in PLAIN:
        passed = 0
        for number in range(QUOTA["small"] + 2):
            answer = await replicas[number % len(replicas)].ask(asked(key, "small"))
            passed += answer.overall_code == OK
        assert passed == QUOTA["small"], key
        assert answer.overall_code == OVER_LIMIT
