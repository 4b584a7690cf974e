import pytest

from ratelimitd.limiter import ENFORCED, Engine, Failure, FailureKind, Planner, PlanOptions, Tallies, key_maker
from ratelimitd.observe.metrics import Counters
from ratelimitd.policy_file import parse
from ratelimitd.proto import message
from ratelimitd.rls import RateLimitService, ServiceOptions
from ratelimitd.stores.memory import MemoryStore

Request = message("envoy.service.ratelimit.v3.RateLimitRequest")
Response = message("envoy.service.ratelimit.v3.RateLimitResponse")


class Call:
    """A call that keeps its answer: a response message, or (status, text)."""

    def __init__(self, body, deadline=0):
        self.body = body
        self.deadline = deadline
        self.cancelled = False
        self.answers = []

    @property
    def answered(self):
        return self.cancelled or bool(self.answers)

    def respond(self, body):
        self.answers.append(Response.FromString(body))

    def fail(self, status, message):
        self.answers.append((status, message))

    @property
    def answer(self):
        (only,) = self.answers
        return only


class Bench:
    """A service over a policy, with an in-memory store unless another is given."""

    def __init__(
        self, policy=None, options=ServiceOptions(), plan_options=PlanOptions(), store=None, guards=(), modes=ENFORCED
    ):
        self.tallies, self.counts = Tallies(), Counters()
        self.store = MemoryStore(1 << 20) if store is None else store
        self.engine = Engine(self.store, self.counts, guards, modes)
        self.service = RateLimitService(self.engine, self.tallies, self.counts.called, options)
        if policy is not None:
            self.load(policy, plan_options)

    def load(self, policy, plan_options=PlanOptions()):
        parsed = parse([("policy.yaml", policy.encode())])
        self.engine.planner = Planner(parsed, key_maker(b"", safe=True), self.tallies, plan_options)

    def ask(self, *descriptors, domain="d", hits=0):
        """Ask with dicts of entries (or ready RateLimitDescriptors); returns the answer."""
        request = Request(domain=domain, hits_addend=hits)
        for each in descriptors:
            if isinstance(each, dict):
                built = request.descriptors.add()
                for key, value in each.items():
                    built.entries.add(key=key, value=value)
            else:
                request.descriptors.add().CopyFrom(each)
        return self.send(request.SerializeToString())

    def send(self, body):
        call = Call(body)
        self.service.should_rate_limit([call])
        return call.answer

    def overall(self, *descriptors, **options):
        return Response.Code.Name(self.ask(*descriptors, **options).overall_code)


@pytest.fixture
async def bench():
    """Makes Bench objects; async because a service needs the running loop."""
    return Bench


@pytest.fixture
def failing_store():
    """A store that decides nothing."""

    class Failing:
        def charge(self, asks, now, done):
            for ask in asks:
                ask.outcomes = [Failure(FailureKind.TIMEOUT, "no answer") if o is None else o for o in ask.outcomes]
            done(asks)

    return Failing()
