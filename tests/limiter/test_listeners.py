"""Several listeners in the one place of an engine."""

from ratelimitd.limiter import Engine, listen, unlisten
from ratelimitd.observe.metrics import Counters
from ratelimitd.stores.memory import MemoryStore


def test_each_listener_hears_each_decision_in_order():
    """Whoever comes and goes meanwhile; while there is none, the place is None, so a decision costs a comparison."""
    engine = Engine(MemoryStore(1 << 20), Counters())
    heard: list[tuple[str, object]] = []

    def first(ask, answer):
        heard.append(("first", ask))

    def second(ask, answer):
        heard.append(("second", ask))

    def third(ask, answer):
        heard.append(("third", ask))

    listen(engine, first)
    assert engine.listener is first
    listen(engine, second)
    listen(engine, third)
    assert engine.listener is not None
    engine.listener(1, 1)  # type: ignore[arg-type]
    unlisten(engine, second)
    unlisten(engine, second)
    engine.listener(2, 2)  # type: ignore[arg-type]
    unlisten(engine, first)
    assert engine.listener is third
    unlisten(engine, third)
    assert engine.listener is None
    assert heard == [("first", 1), ("second", 1), ("third", 1), ("first", 2), ("third", 2)]
