"""A policy over any store, asked as Envoy asks: questions with 0, then reports."""

import asyncio

from ratelimitd.algorithms import ALGORITHMS
from ratelimitd.limiter import Engine, LimitRequest, Planner, PlanOptions, PostPaid, Tallies, key_maker
from ratelimitd.observe.metrics import Counters
from ratelimitd.policy import Descriptor
from ratelimitd.policy_file import parse
from tests.algorithms.cases import NOW, SECOND
from tests.contract.cases import PATIENCE

HOUR = 3_600 * SECOND
START = NOW - NOW % HOUR + 7


class Caller:
    """Asks an engine over a store, at simulated times; ``tree`` is what the policy has below ``domain: d``."""

    def __init__(self, store, tree, *, guards=(), options=PlanOptions(), post_paid=None):
        self.store = store
        self.tallies = Tallies()
        self.engine = Engine(store, Counters(), guards)
        self.post_paid = PostPaid() if post_paid is None else post_paid
        self._options = options
        self.load(tree)

    def load(self, tree, prefix=b""):
        """Activate a policy."""
        parsed = parse([("p.yaml", f"domain: d\n{tree}".encode())])
        keys = key_maker(prefix, safe=False)
        self.engine.planner = Planner(parsed, keys, self.tallies, self._options, self.post_paid)

    def request(self, *descriptors, ours=False, hits=0):
        """One call with these descriptors, as it was decoded."""
        made = tuple(each if isinstance(each, Descriptor) else sent(*each) for each in descriptors)
        return LimitRequest(b"d", made, hits, ours, looks=ours)

    async def ask(self, *descriptors, now=START, ours=False, hits=0):
        """Answer one call with these descriptors, see ``sent``."""
        request = self.request(*descriptors, ours=ours, hits=hits)
        asked = self.engine.ask(b"", lambda _: request)
        answered, found = asyncio.Event(), []

        def keep(_, answer):
            found.append(answer)
            answered.set()

        def fail(_, error):
            found.append(error)
            answered.set()

        self.engine.decide([asked], now, keep, fail)
        async with asyncio.timeout(PATIENCE):
            await answered.wait()
        (answer,) = found
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def passes(self, key, hits=0, **options):
        """Whether a call with one descriptor passes."""
        return not (await self.ask((key, hits), **options)).over

    async def used(self, key, now=START, value="x"):
        """What of its limit is used, as a look tells that is no evidence; None past the limit."""
        status = (await self.ask(sent(key, 0, value=value), now=now, ours=True)).statuses[0]
        return None if status.over else status.rule.capacity - status.remaining

    async def answers(self, key, cost=30, count=12, **options):
        """How many answers pass, each asked for with 0, and reported if it passed."""
        passed = 0
        for _ in range(count):
            if await self.passes(key, 0, **options):
                passed += 1
                await self.passes(key, cost, **options)
        return passed

    def after(self, key):
        """The counters of settlements of the limits of this key."""
        (tally,) = [each for each in self.tallies if each.stat_key[-1] == key and each.after is not None]
        return tally.after


def sent(key, hits=None, negative=False, value="x", lease=None):
    """A descriptor of one entry, as it arrives."""
    return Descriptor(((key.encode(), value.encode()),), None, hits, negative, lease)


def limit(key, name, more="", quota=50):
    """One descriptor with a limit of this algorithm."""
    return f"- {{key: {key}, rate_limit: {{unit: hour, requests_per_unit: {quota}, algorithm: {name}{more}}}}}\n"


def each(more="", quota=50):
    """A descriptor for each algorithm, named after it."""
    return "descriptors:\n" + "".join(limit(name, name, more, quota) for name in ALGORITHMS)
