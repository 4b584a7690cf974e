"""A reload that cannot be done costs that reload alone."""

import asyncio
import tempfile

import pytest

from ratelimitd.policy import PolicyErrors
from ratelimitd.sources import Paths, Watch, load, loader


@pytest.mark.process
async def test_it_loads_where_nothing_can_be_written(tmp_path, monkeypatch):
    """With a read-only root there is no temporary directory, and a policy is loaded all the same."""
    (tmp_path / "p.yaml").write_text("domain: d\n")
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", list)
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert (await load(Paths((str(tmp_path / "p.yaml"),)))).summary.domains == 1


@pytest.mark.scenario("no file descriptor is left")
async def test_a_child_that_cannot_start_is_an_error_of_that_load(tmp_path, monkeypatch):
    """No more processes or files (EAGAIN, EMFILE) is reported like any other error of a policy."""

    def refuse(*_args):
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(loader, "_spawn", refuse)
    with pytest.raises(PolicyErrors, match="Resource temporarily unavailable"):
        await load(Paths((str(tmp_path),)))


async def test_a_watch_outlives_a_reload_that_raises():
    """Whatever a reload raises, the next change is loaded."""
    tried = asyncio.Queue()

    async def reload():
        tried.put_nowait(len(tried._queue))
        if state == [(1,)]:
            raise RuntimeError("a bug")

    state = [(0,)]
    watch = Watch(lambda: tuple(state), reload, interval=0.01)
    running = asyncio.create_task(watch.run())
    for change in ((1,), (2,)):
        state[:] = [change]
        async with asyncio.timeout(10):
            await tried.get()
    running.cancel()
