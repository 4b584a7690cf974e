"""An engine with a model that watches it, on a clock of its own."""

from ratelimitd.descriptor_text import parse as entries_of
from ratelimitd.descriptor_text import show
from ratelimitd.limiter import (
    ENFORCED,
    Engine,
    Fallback,
    LimitRequest,
    Planner,
    PlanOptions,
    Tallies,
    key_maker,
)
from ratelimitd.live import Live, View, complete, denials, limit, limit_id, limits, overview
from ratelimitd.live.listing import LimitsQuery
from ratelimitd.observe.metrics import Counters
from ratelimitd.policy import described
from ratelimitd.policy_file import parse
from ratelimitd.stores.memory import MemoryStore

START = 1_700_000_000_000_000
SECOND = 1_000_000
MIB = 1 << 20


class Watched:
    """A policy, an engine, and the model."""

    def __init__(self, policy, *, store=None, guards=(), modes=ENFORCED, most=8 * MIB, secret=b"secret", series=10_000):
        self.now = START
        self.tallies = Tallies(series)
        memory = MemoryStore(64 * MIB)
        guards = [*guards, Fallback(memory, 1, lambda *_: None)] if store is not None else guards
        self.engine = Engine(memory if store is None else store, Counters(), guards, modes)
        self.options = PlanOptions(modes=modes, identity_secret=secret)
        self.load(policy)
        self.live = Live(most, secret, START, self.tallies, modes)
        self.engine.watcher = self.live
        self.answers = []

    def load(self, policy):
        self.policy = parse([("p.yaml", policy.encode())])
        self.engine.planner = Planner(self.policy, key_maker(b"", safe=False), self.tallies, self.options)

    def call(self, *descriptors, domain=b"d", hits=0, ours=False):
        """One request; a descriptor is text, or a ``Descriptor``."""
        made = tuple(described(entries_of(each)) if isinstance(each, str) else each for each in descriptors)
        request = LimitRequest(domain, made, hits, ours)
        return self.ask(request)

    def ask(self, request):
        ask = self.engine.ask(request, lambda same: same)
        self.engine.decide([ask], self.now, lambda _, answer: self.answers.append(answer), _raised)
        return self.answers[-1]

    def tick(self, seconds=1):
        """Let time pass."""
        for _ in range(seconds):
            self.now += SECOND
            engine = self.engine
            for _ in self.live.tick(self.now, (engine.decided_ok, engine.decided_over, engine.decided_failed)):
                pass

    def view(self, plain=True):
        return View(self.live, self.policy, self.now, plain, show)

    def overview(self):
        return overview(self.view())

    def denials(self, plain=True, **query):
        return denials(self.view(plain), **query)["denials"]

    def limits(self, **query):
        return complete(limits(self.view(), LimitsQuery(**query)))

    def limit(self, path, item="", plain=True, domain=b"d"):
        return complete(limit(self.view(plain), limit_id(domain, path, item)))

    def everything(self, plain):
        """All documents as text."""
        view = self.view(plain)
        found = complete(limits(view, LimitsQuery()))
        whole = [overview(view), found, denials(view)]
        return repr(whole + [complete(limit(view, each["id"])) for each in found["limits"]])


def _raised(tag, error):
    raise error


def minute(document, key):
    """(hits, denied) of a key in the last minute."""
    (found,) = [each for each in document["keys"] if each["key"] == key]
    return found["minute"]["hits"], found["minute"]["denied"]
