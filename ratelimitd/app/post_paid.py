"""Limits whose costs come after the request, in a running service: their log, and settlements that wait for Redis."""

import time
from collections.abc import Callable, Sequence
from typing import Final

from ratelimitd.limiter import Ask, PostPaid, Store, Switch
from ratelimitd.observe.logs import get_logger

log = get_logger(__name__)

RETRY: Final = 1.0
"""Seconds between two attempts while the store is away: an attempt that fails at once costs a millisecond."""

GOES_ON: Final = 0.01
"""Seconds until the next attempt after one that recorded settlements: 10,000 take a second, in turns of 128."""

SWITCHED: Final = (
    "requests ask it with 0, so hits above 0 are recorded as settlements: write `charge: after` in the limit to fix "
    "this in the policy"
)
FORGOT: Final = (
    "hits that a descriptor reports were refused and cost nothing: write `charge: after` in the limit if they have "
    "been spent, as with apply_on_stream_done, or `charge: before` if they are asked for"
)

Later = Callable[[float, Callable[[], None]], object]
"""Calls a function after this number of seconds; the event loop's ``call_later``."""


def tell(post_paid: PostPaid) -> None:
    """Log the first switch of each limit, and the first costs of each limit that were forgotten."""

    def switched(switch: Switch) -> None:
        if switch.on and not switch.told:
            switch.told = True
            log.info("costs of a limit come after its requests", limit=switch.name, note=SWITCHED)

    def forgot(name: str) -> None:
        log.warning("costs were refused and forgotten", limit=name, note=FORGOT)

    post_paid.switched, post_paid.forgot = switched, forgot


class LateSettlements:
    """Charges settlements and releases that wait, once their store is back."""

    def __init__(self, post_paid: PostPaid, store: Store, later: Later) -> None:
        self._post_paid = post_paid
        self._store = store
        self._later = later
        self._waiting = False
        self._answers = False
        self._recorded = 0
        post_paid.waits = self._wait

    def left(self, charges: Sequence[tuple[Ask, int]], certain: bool) -> None:
        """Release holds that nothing else will: of replies that came too late, and of connections that were lost.

        A lost server may have a call still, and run it a little later. So the first attempt comes soon only if the
        holds were certainly taken, which is known from a store that answers.
        """
        self._answers = certain
        self._post_paid.release(charges, time.time_ns() // 1000)
        self._answers = False

    def _wait(self) -> None:
        if not self._waiting:
            self._waiting = True
            goes_on = self._answers or self._post_paid.recorded > self._recorded
            self._recorded = self._post_paid.recorded
            self._later(GOES_ON if goes_on else RETRY, self._try)

    def _try(self) -> None:
        self._waiting = False
        self._post_paid.charge_kept(self._store, time.time_ns() // 1000)
        if len(self._post_paid):
            self._wait()
