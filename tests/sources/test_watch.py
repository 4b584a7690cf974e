"""The watch: a change is loaded once, when it has come to rest."""

import asyncio

import pytest

from ratelimitd.sources.watch import SETTLE_CHECKS, Watch

TICK = 0.002


class Folder:
    """States that a watch sees, one after the other; the last one stays. ``looked``: how many it saw."""

    def __init__(self, *states):
        self._states = list(states)
        self.looked = 0

    def __call__(self):
        self.looked += 1
        return ((self._states.pop(0) if len(self._states) > 1 else self._states[0],),)


async def reloads(folder, enough, *, wake=False):
    """Run a watch until ``enough(reloads)``; return how many looks each reload came after."""
    seen: list[int] = []
    done = asyncio.Event()

    async def reload():
        seen.append(folder.looked)
        if enough(len(seen)):
            done.set()

    watch = Watch(folder, reload, interval=TICK if not wake else 3600)
    if wake:
        watch.wake()
    running = asyncio.create_task(watch.run())
    await asyncio.wait([running, asyncio.create_task(done.wait())], timeout=20, return_when=asyncio.FIRST_COMPLETED)
    running.cancel()
    assert done.is_set()
    return seen


@pytest.mark.scenario("a policy in a ConfigMap")
async def test_a_change_is_loaded_once_it_rests():
    """States 1, 2 and 3 in a row are one reload, after 3 was seen twice."""
    folder = Folder(0, 0, 1, 2, 3, 3, 3, 4)
    assert await reloads(folder, lambda count: count == 2) == [6, 9]


async def test_nothing_is_loaded_without_a_change():
    """Looks alone reload nothing."""
    folder = Folder(*[0] * 20, 1)
    assert await reloads(folder, lambda count: count == 1) == [22]


async def test_what_never_rests_is_loaded_all_the_same():
    """A file that is written all the time is read after a bounded number of looks."""
    folder = Folder(*range(100))
    assert await reloads(folder, lambda count: count == 1) == [2 + SETTLE_CHECKS]


async def test_a_wake_reloads_at_once():
    """SIGHUP waits for no interval, and needs no change."""
    assert await reloads(Folder(0), lambda count: count == 1, wake=True) == [2]


@pytest.mark.scenario("a policy in a ConfigMap")
async def test_a_change_during_a_reload_is_not_lost():
    """What changes while the old state is being read is another change."""
    folder = Folder(0, 1, 1, 1)
    seen: list[int] = []
    done = asyncio.Event()

    async def reload():
        seen.append(folder.looked)
        folder._states = [2]
        if len(seen) == 2:
            done.set()

    watch = Watch(folder, reload, interval=TICK)
    running = asyncio.create_task(watch.run())
    async with asyncio.timeout(20):
        await done.wait()
    running.cancel()
