"""What the tests of this folder share: rates, times and costs to draw from, and a counter that runs a step."""

from hypothesis import strategies as st

from ratelimitd.algorithms import ALGORITHMS, BINDING, POST_PAID, SETTLES, counter_key, make_rate
from ratelimitd.algorithms.rate import SMALL_STEP
from ratelimitd.limiter import Ask, Charge, LimitRequest, Plan, Rule
from ratelimitd.policy import Limit
from ratelimitd.stores.redis.packing import open_selections, pack
from ratelimitd.stores.redis.replies import unpack

SECOND = 1_000_000
DAY = 86_400 * SECOND
YEAR = 365 * DAY
U32 = (1 << 32) - 1
LATEST = 1 << 52
"""The year 2112: until then two windows of 71 years fit a double."""
NOW = 1_764_018_900_123_456
METERS = [name for name, row in ALGORITHMS.items() if row.family == "meter"]
CLOCKED = tuple(name for name, row in ALGORITHMS.items() if not row.keyed_by_window)
"""Those whose counters go by the clock of their store, not by that of the host."""


class Counter:
    """One limit's counter over time, as a store keeps it; ``forgetful``: states go as soon as they may."""

    def __init__(self, rate, *, forgetful=False):
        self.rate = rate
        self.step = ALGORITHMS[rate.algorithm].step
        self.forgetful = forgetful
        self.states: dict[bytes, tuple[object, int]] = {}

    def look(self, cost, now, flags=BINDING):
        """Decide without keeping what comes of it."""
        return self._decide(cost, now, flags)[2]

    def charge(self, cost, now, flags=BINDING):
        key, state, decision = self._decide(cost, now, flags)
        self.states[key] = state, now + decision.reset_after
        return decision

    def _decide(self, cost, now, flags):
        key = counter_key(b"key_", self.rate, now)
        state, expiry = self.states.get(key, (None, 0))
        if self.forgetful and now >= expiry:
            state = None
        return key, *self.step(state, self.rate, cost, now, flags)


@st.composite
def rates(draw, names=tuple(ALGORITHMS), largest=U32):
    """Rates of everyday size, and extreme ones."""
    name = draw(st.sampled_from(names))
    family = ALGORITHMS[name].family
    if family == "log":
        largest = min(largest, 10_000)
    quota = draw(st.one_of(st.integers(0, 20), st.integers(1, largest), st.just(largest)))
    seconds = draw(st.sampled_from([1, 2, 7, 60, 3_600, 86_400, YEAR // SECOND, (1 << 51) // SECOND]))
    window = seconds * SECOND
    if not ALGORITHMS[name].keyed_by_window and draw(st.booleans()):
        window = draw(st.one_of(st.integers(1, 100_000), st.integers(1, window)))
    burst = None
    if family == "meter" and quota and draw(st.booleans()):
        most = min(U32, (1 << 51) * quota // window)
        burst = draw(st.one_of(st.integers(1, most), st.integers(1, min(most, 20)), st.just(most)))
    return make_rate(name, quota, window, burst, draw(st.booleans()) if name == "fixed_window" else True)


def costs(rate):
    """Mostly what the limit can hold; also peeks, give-backs, too much, and the extremes."""
    size = rate.burst + 2
    return st.one_of(
        st.just(1), st.integers(0, 3), st.integers(0, size), st.integers(-size, size), st.sampled_from([U32, -U32, 0])
    )


def jumps(rate, *, back=False):
    """µs between two charges."""
    each = max(rate.window // max(rate.quota, 1), 1)
    kinds = [
        st.integers(0, 3),
        st.integers(0, 3 * each),
        st.integers(0, rate.window // 2),
        st.integers(0, 3 * rate.window),
    ]
    if back:
        edge = -SMALL_STEP
        kinds += [st.integers(-3, 0), st.integers(-rate.window, 0), st.integers(edge - 2, edge + 2)]
    return st.one_of(kinds)


@st.composite
def histories(draw, *, back=False, names=tuple(ALGORITHMS), largest=U32):
    """A rate, and (now, cost) pairs to put on one counter of it."""
    rate = draw(rates(names, largest))
    now = NOW - draw(st.integers(0, rate.window))
    charges = []
    for jump, cost in draw(st.lists(st.tuples(jumps(rate, back=back), costs(rate)), max_size=25)):
        now = min(max(now + jump, 0), LATEST)
        charges.append((now, cost))
    return rate, charges


SETTLEMENT = POST_PAID | SETTLES
ASKED = POST_PAID | BINDING
FLAGS = st.sampled_from([BINDING, BINDING, 0, ASKED, POST_PAID, SETTLEMENT])
"""Plain charges, those of shadow limits, both of post-paid limits, and settlements."""

LONG = 600_000
"""ms that no test takes."""


def ask(*charges, atomic=False):
    """An ask of (rate, key, cost), with flags and hold if needed; True and False are flags of plain charges."""
    made = [
        Charge(Rule(Limit(rate), bool(flags & BINDING)), key, flags, hold)
        for rate, key, _, flags, hold in map(whole, charges)
    ]
    return Ask(Plan(tuple(made), request=LimitRequest(b"test", ())), [charge[2] for charge in charges], atomic=atomic)


def whole(charge):
    rate, key, cost, *more = charge
    flags, hold = [*more, BINDING, None][:2] if not more else [*more, None][:2]
    return rate, key, cost, int(flags), hold


class Script:
    """A script in a Redis, called as the store calls it."""

    def __init__(self, client, text):
        self.client = client
        self.sha = client.script_load(text)

    def charge(self, asks, now, *, clock=None, jitter=LONG, client=None):
        """Fill in the asks' outcomes; the time it was decided at."""
        packed = pack(open_selections(asks), now, clock=clock, jitter=jitter)
        at, _ = unpack((client or self.client).evalsha(self.sha, *packed.words), packed)
        return at
