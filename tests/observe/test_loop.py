"""How late the loop runs, and a collector that does not hold it."""

import asyncio
import gc
import subprocess
import sys
import time

import pytest

from ratelimitd.observe.loop import MEMORY, THRESHOLDS, TICK, LoopLag, batches, collect_regularly


def test_lag_keeps_the_last_and_the_longest():
    """Reading does not reset: two scrapers see the same."""
    lag = LoopLag()
    for late in (0.001, 0.2, 0.003):
        lag.record(late, 1.0)
    assert (lag.last, lag.longest, lag.longest) == (0.003, 0.2, 0.2)


def test_the_longest_lag_is_forgotten_after_a_while():
    """It stays for one whole period after its own and is gone after that."""
    lag = LoopLag()
    lag.record(0.2, MEMORY + 1)
    lag.record(0.001, 2 * MEMORY + 1)
    assert lag.longest == 0.2
    lag.record(0.001, 3 * MEMORY + 1)
    assert lag.longest == 0.001


def test_an_early_tick_is_not_late():
    """Clocks of a coarse timer may fire early; lag is never negative."""
    lag = LoopLag()
    lag.record(-0.001, 1.0)
    assert lag.last == 0.0


@pytest.mark.scenario("the event loop is blocked")
async def test_a_held_loop_is_seen():
    """A hold longer than the tick shows in ``longest``."""
    lag = LoopLag()
    ticker = asyncio.create_task(lag.run())
    await asyncio.sleep(0)
    time.sleep(0.1)  # noqa: ASYNC251 -- the hold that is to be seen
    await asyncio.sleep(TICK)  # due after the ticker's own, so it wakes after it
    ticker.cancel()
    assert lag.longest >= 0.07


GROW = """
import gc
from ratelimitd.observe.loop import tame_collector
if {tame}:
    tame_collector()
    tame_collector()
heap = {{i: [i] for i in range(1_000_000)}}
print(len(gc.get_objects()), len(gc.callbacks), *gc.get_threshold())
gc.freeze()
print(len(gc.get_objects()))
"""


def grown(*, tame):
    code = GROW.format(tame=tame)
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    return [int(word) for word in out.stdout.split()]


@pytest.mark.process
@pytest.mark.scenario("the event loop is blocked")
def test_a_tamed_collector_leaves_a_large_heap_alone():
    """Of a million lists that live on, only the newest are left for the next full collection."""
    visible, callbacks, *thresholds, after_freeze = grown(tame=True)
    assert visible < 500_000
    assert callbacks == 1
    assert tuple(thresholds) == THRESHOLDS
    assert after_freeze < 10_000


WAITED = """
import gc, time
from ratelimitd.observe import loop
loop.LONG = 0.02
loop.tame_collector()
gc.callbacks.append(lambda phase, info: phase == "start" and time.sleep(0.1))
before = gc.get_freeze_count()
gc.collect(1)
print(gc.get_freeze_count() - before)
"""


@pytest.mark.process
def test_a_collection_that_waits_for_a_core_freezes_nothing():
    """It has traversed little, ten times a second: a cycle that is alive at a freeze is never freed."""
    out = subprocess.run([sys.executable, "-c", WAITED], check=True, capture_output=True, text=True, timeout=60)
    assert out.stdout == "0\n"


VISITED = """
import gc
from ratelimitd.observe import loop
loop.LONG = 0
loop.tame_collector()
visited = []
gc.callbacks.insert(0, lambda phase, info: phase == "start" and visited.append(len(gc.get_objects())))
kept = {i: [i] for i in range(200_000)}
print(len(visited), max(visited))
"""


@pytest.mark.process
@pytest.mark.scenario("the event loop is blocked")
def test_no_collection_visits_many_survivors():
    """What lives on is frozen before a full collection would visit all of it: rules of new nodes do."""
    out = subprocess.run([sys.executable, "-c", VISITED], check=True, capture_output=True, text=True, timeout=60)
    collections, most = map(int, out.stdout.split())
    assert most < 20_000
    assert collections > 20


REPLACED = """
import asyncio, gc
from ratelimitd.observe import loop
loop.LONG = 0
loop.COLLECT = 0
class Table(dict):
    pass
async def replace():
    table = Table((i, [i]) for i in range(200_000))
    loop.tame_collector()
    visited = []
    gc.callbacks.insert(0, lambda phase, info: phase == "start" and visited.append(len(gc.get_objects())))
    regularly = asyncio.create_task(loop.collect_regularly())
    for i in range(200_000):
        del table[i]
        table[i] = [i]
        if i % 1_000 == 0:
            await asyncio.sleep(0)
    gc.collect(1)
    print(len(visited), max(visited), gc.get_freeze_count())
asyncio.run(replace())
"""


@pytest.mark.process
@pytest.mark.scenario("the event loop is blocked")
def test_no_collection_visits_a_full_table():
    """What replaces others, so that their number stays, is collected and frozen bit by bit, not at the next reload."""
    out = subprocess.run([sys.executable, "-c", REPLACED], check=True, capture_output=True, text=True, timeout=60)
    collections, most, frozen = map(int, out.stdout.split())
    assert most < 20_000
    assert collections > 100
    assert frozen > 200_000


async def test_a_collector_that_is_off_stays_off(monkeypatch):
    """A load has it off, and what it has made is not collected meanwhile."""
    monkeypatch.setattr("ratelimitd.observe.loop.COLLECT", 0)
    collections = []
    gc.callbacks.append(lambda phase, info: collections.append(phase))
    regularly = asyncio.create_task(collect_regularly())
    gc.disable()
    try:
        for _ in range(5):
            await asyncio.sleep(0)
        assert not collections
        gc.enable()
        for _ in range(5):
            await asyncio.sleep(0)
        assert collections
    finally:
        gc.enable()
        gc.callbacks.pop()
        regularly.cancel()


@pytest.mark.process
def test_an_untamed_collector_visits_it_all():
    """So the test above can fail."""
    assert grown(tame=False)[0] > 1_000_000


def test_batches_keep_order_and_size():
    """Nothing is lost at the end."""
    assert list(batches(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(batches([], 2)) == []
