"""Several listeners in the one place that an engine has for them, which is None while there are none."""

from .answer import Answer
from .engine import Engine, Listener
from .seam import Ask


class Listeners:
    """Passes each decision to several listeners, in their order."""

    __slots__ = ("each",)

    def __init__(self, each: tuple[Listener, ...]) -> None:
        self.each = each

    def __call__(self, ask: Ask, answer: Answer) -> None:
        """Be a ``Listener``."""
        for listener in self.each:
            listener(ask, answer)


def listen(engine: Engine, listener: Listener) -> None:
    """Pass each decision to this listener too. It must not raise: others, and the caller, would miss the decision."""
    engine.listener = _place((*_listening(engine), listener))


def unlisten(engine: Engine, listener: Listener) -> None:
    """Pass no more decisions to this listener, if it listens."""
    engine.listener = _place(tuple([each for each in _listening(engine) if each != listener]))


def _listening(engine: Engine) -> tuple[Listener, ...]:
    listener = engine.listener
    if listener is None:
        return ()
    return listener.each if isinstance(listener, Listeners) else (listener,)


def _place(listeners: tuple[Listener, ...]) -> Listener | None:
    """Return what takes the place of the engine: nothing, the only listener, or all."""
    if len(listeners) <= 1:
        return next(iter(listeners), None)
    return Listeners(listeners)
