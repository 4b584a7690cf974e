"""An error of the live model: it is told, and neither decisions nor the view end by it."""

import asyncio
from types import SimpleNamespace

from ratelimitd.app import live as app_live
from ratelimitd.app.live import LiveService


class Model:
    """Its first tick fails; at the third one the test has seen enough."""

    def __init__(self):
        self.fault = None
        self.ticks = 0
        self.enough = asyncio.Event()

    def tick(self, now, decided):
        self.ticks += 1
        if self.ticks == 1:
            raise OverflowError("too large")
        if self.ticks == 3:
            self.enough.set()
        yield


async def test_a_tick_that_fails_is_told_and_the_next_one_comes(monkeypatch, capsys):
    """Else the view would stand still until the process is restarted. Errors that follow are not told again."""
    monkeypatch.setattr(app_live, "TICK", 0.0)
    engine = SimpleNamespace(decided_ok=0, decided_over=0, decided_failed=0)
    model = Model()
    view = LiveService(SimpleNamespace(parts=SimpleNamespace(engine=engine)), model, lambda: "")
    task = asyncio.create_task(view.run())
    try:
        async with asyncio.timeout(60):
            await model.enough.wait()
        model.fault = ValueError("of the engine")
        model.enough.clear()
        model.ticks = 2
        async with asyncio.timeout(60):
            await model.enough.wait()
        assert not task.done()
        assert model.fault is None
    finally:
        task.cancel()
    assert capsys.readouterr().out.count("the live view has an error") == 1
