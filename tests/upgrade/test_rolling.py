"""An upgrade and its rollback, replica by replica on one Redis, under traffic."""

import shutil
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.upgrade.asking import OK, OVER_LIMIT, replica
from tests.upgrade.forms import FORMS, PLACES, QUOTA, RESERVING, asked, quota_of
from tests.upgrade.test_forms import fits, made
from tests.upgrade.traffic import PLAIN, Traffic
from tests.upgrade.versions import ROOT, script_of

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


async def changed_forms(old, new, policy, redis):
    """Return the keys of the descriptors whose limits have another form in each version."""
    forms = [await forms_of(version, policy, redis) for version in (old, new)]
    return keys_of(name for name in FORMS if forms[0][name] != forms[1][name])


def keys_of(names):
    """Return the keys of the descriptors of these rows; other domains have limits of the same keys."""
    questions = [FORMS[name].asked for name in names]
    return {each.entries[0][0] for each in questions if each.domain == "d"}


@pytest.mark.parametrize("way", ["upgrade", "rollback"])
async def test_a_rolling_change_of_the_version(way, old, new, policy, redis):
    """No call fails, nothing above a limit passes where its key kept its form, and at most twice the limit elsewhere.

    What has passed is what both versions find in the counters, and places are shared. Redis also loses all scripts.
    """
    before, after = (old, new) if way == "upgrade" else (new, old)
    changed = await changed_forms(old, new, policy, redis)

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
            least = QUOTA[value] - 1 if value == "small" else 1  # the last request may ask for two
            assert least <= hits <= QUOTA[value] * (2 if key in changed else 1), (key, value)
        assert 0 < traffic.most <= quota_of(PLACES, "small") * (2 if PLACES in changed else 1)
        redis.ask("FLUSHALL")
        await used_up(replicas.live)


async def test_both_versions_share_a_limit_whose_form_they_share(old, new, policy, redis):
    """Asked in turns until it is used up, a limit passes its number; twice that if its form changed."""
    changed = await changed_forms(old, new, policy, redis)
    async with fleet(policy, redis, old, new) as replicas:
        await used_up(replicas.live, changed)


async def test_a_limit_whose_form_changed_passes_twice_its_number(new, policy, redis, tmp_path_factory):
    """And no more, whatever its algorithm: here every name with the version of the layout has another one."""
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(ROOT / "ratelimitd", other / "ratelimitd", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    names = other / "ratelimitd/limiter/keys.py"
    names.write_text(names.read_text().replace("%brl1:", "%brl2:"))
    safe = keys_of(name for name, row in FORMS.items() if all(key.startswith("rl1:") for key in row.forms[-1]))
    async with fleet(policy, redis, new, other) as replicas:
        await used_up(replicas.live, safe)


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


async def used_up(replicas, changed=()):
    """Ask two replicas in turns until each limit is used up: what passes is its number, or twice that."""
    for key in PLAIN:
        passed, most = 0, QUOTA["small"] * (2 if key in changed else 1)
        for number in range(most + 2):
            answer = await replicas[number % len(replicas)].ask(asked(key, "small"))
            passed += answer.overall_code == OK
        assert passed == most, key
        assert answer.overall_code == OVER_LIMIT
