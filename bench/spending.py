"""Answers that are paid for afterwards: callers that ask, spend and report, and what they may spend.

A budget admits an answer while 1 of it is left, so the answers in flight together overrun it. A report that certainly
met no store is kept and recorded later. One that was sent and not answered may have been recorded, and counts as lost.
So each report is recorded or counted as lost, and none is recorded twice.
"""

import multiprocessing
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from enum import Enum
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple

import grpc

from bench.bounds import Admitted, Allowance, Law, bound, over_admission
from bench.policy import DOMAIN
from ratelimitd.proto import message
from ratelimitd.rls.service import STORE_FAILED
from testkit.machine import on_core
from testkit.server import METHOD

BUDGET: Final = "budget"
LEDGER: Final = "ledger"
"""Descriptor keys: a limit that is enforced, and one that is never reached, whose count is all that was recorded."""

COST: Final = 25
"""Hits of an answer."""

LAW: Final = Law("token_bucket", 60_000, 60.0, 500)
"""The budget in hits. Reports of a minute wait for their store, so a minute is the window."""

LEDGER_LIMIT: Final = 4_000_000_000

CALLERS: Final = 4
"""Callers of each service; each has one answer in flight at most."""

STREAM: Final = 0.05
"""Seconds that an answer takes: the callers of four services want six times the budget."""

PAUSE: Final = 0.05
"""Seconds after a denial or a failure."""

PATIENCE: Final = 10.0
"""Seconds for a call, and for reports that wait to be recorded at the end."""

OPTIONS: Final = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
)

RULES: Final = (
    f"  - {{key: {BUDGET}, rate_limit: {{unit: minute, requests_per_unit: {LAW.quota}, burst: {LAW.burst}, "
    "algorithm: token_bucket, charge: after}}\n"
    f"  - {{key: {LEDGER}, rate_limit: {{unit: year, requests_per_unit: {LEDGER_LIMIT}, algorithm: fixed_window, "
    "charge: after}}"
)
"""The lines of a policy."""

_Request = message("envoy.service.ratelimit.v3.RateLimitRequest")
_Response = message("envoy.service.ratelimit.v3.RateLimitResponse")
OK: Final = 1


class Reply(Enum):
    """What a call came to: a code, a failure of the store, or no answer of the service."""

    PASSED = "passed"
    OVER = "over"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Answer(NamedTuple):
    """An answer that was admitted: when its question was sent and answered, and what its report came to."""

    sent: float
    done: float
    report: Reply


class Spent(NamedTuple):
    """What callers spent.

    Attributes:
        callers: most answers in flight.
        denied: questions that were denied.
        recorded, lost: reports, one for each key, that services counted as recorded and as lost; None if a service was
            killed, whose counters are gone.
        ledger: hits that the store has.
    """

    answers: Sequence[Answer]
    callers: int
    denied: int
    recorded: int | None
    lost: int
    ledger: int


class Account(NamedTuple):
    """The columns of a row, in hits, and the requirements that were not met.

    Attributes:
        budget: what the limit admits in this time, with what failovers add.
        settled: hits that the store has.
        over_run: hits of answers over the budget in the worst of all windows.
    """

    budget: float
    settled: int
    over_run: int
    misses: tuple[str, ...]


def account(spent: Spent, failovers: Sequence[Allowance] = ()) -> Account:
    """Compare what was spent with the budget, and what was reported with what was recorded; pure."""
    answers = spent.answers
    asked = [Admitted(answer.sent, answer.done) for answer in answers]
    law = LAW._replace(quota=LAW.quota // COST, burst=LAW.burst // COST)
    in_flight = law._replace(burst=law.burst + spent.callers)
    unknown = sum(answer.report is Reply.UNKNOWN for answer in answers)
    surely = sum(answer.report in (Reply.PASSED, Reply.OVER) for answer in answers)
    beyond = over_admission(in_flight, asked, failovers)
    reached = 2 * (len(answers) - unknown)
    counted = None if spent.recorded is None else spent.recorded + spent.lost
    misses = {
        f"{beyond} answers over the budget and those in flight": beyond > len(answers) - surely,
        f"{counted} reports counted of {reached}": counted is not None
        and not reached <= counted <= reached + 2 * unknown,
        f"{spent.ledger} hits recorded, {len(answers) * COST} reported": spent.ledger > len(answers) * COST,
        f"{spent.ledger} hits found of {surely * COST} recorded": not failovers and spent.ledger < surely * COST,
        "no question was denied": spent.denied == 0,
        "no answer was settled": surely == 0,
    }
    return Account(
        bound(law, failovers, asked[0].sent, max(each.done for each in asked)) * COST if asked else 0.0,
        spent.ledger,
        over_admission(law, asked, failovers) * COST,
        tuple(miss for miss, true in misses.items() if true),
    )


class Callers:
    """Callers of some services: each asks, spends and reports, until they are ended."""

    def __init__(self, addresses: Sequence[str], value: str) -> None:
        self._over = threading.Event()
        self._answers: list[Answer] = []
        self._denied = 0
        self._question, self._report = request(value, 0, BUDGET), request(value, COST, BUDGET, LEDGER)
        self._channels = [grpc.insecure_channel(address, options=OPTIONS) for address in addresses]
        self._threads = [
            threading.Thread(target=self._spend, args=(stub(channel),))
            for channel in self._channels
            for _ in range(CALLERS)
        ]
        for thread in self._threads:
            thread.start()

    def _spend(self, call: Any) -> None:
        while not self._over.is_set():
            sent = time.time()
            reply = made(call, self._question)
            done = time.time()
            if reply is Reply.PASSED:
                self._over.wait(STREAM)
                self._answers.append(Answer(sent, done, made(call, self._report)))
            else:
                self._denied += reply is Reply.OVER
                self._over.wait(PAUSE)

    def end(self) -> tuple[list[Answer], int]:
        """End the callers once their answers are reported; return these, and the number of questions denied."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        for channel in self._channels:
            channel.close()
        return sorted(self._answers, key=lambda answer: answer.sent), self._denied


def _call(addresses: Sequence[str], value: str, pipe: Connection) -> None:
    """Have callers until the other end of the pipe asks what they spent; a child process runs this."""
    callers = Callers(addresses, value)
    pipe.recv()
    pipe.send(callers.end())


class Spending:
    """Callers of some services, from now on, in a process of their own: this one may have the proxy of Redis.

    Args:
        addresses: of the services.
        value: value of the descriptors, new for each run.
        metrics: returns the metrics of each service.
        core: of the callers, which is not that of the services.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        value: str,
        metrics: Callable[[], Sequence[Mapping[str, float]]],
        core: int,
    ) -> None:
        self._addresses = addresses
        self._metrics = metrics
        self._look = request(value, 0, LEDGER)
        self._before = counted(metrics())
        spawn = multiprocessing.get_context("spawn")
        self._pipe, there = spawn.Pipe()
        self._process = spawn.Process(target=_call, args=(tuple(addresses), value, there), daemon=True)
        with on_core(core):
            self._process.start()
        there.close()

    def end(self, *, killed: bool = False) -> Spent:
        """End the callers once their answers are reported. ``killed``: a service, and so its counters, are gone."""
        self._pipe.send(None)
        answers, denied = self._pipe.recv()
        self._process.join()
        recorded, lost = self._settled()
        known = None if killed else recorded - self._before[0]
        callers = CALLERS * len(self._addresses)
        return Spent(answers, callers, denied, known, max(0, lost - self._before[1]), self._ledger())

    def _settled(self) -> tuple[int, int]:
        """Wait until no report waits for its store; return those that were recorded and lost."""
        until = time.monotonic() + PATIENCE
        while True:
            recorded, lost, waiting = counted(self._metrics())
            if not waiting or time.monotonic() > until:
                return recorded, lost
            time.sleep(0.1)

    def _ledger(self) -> int:
        """Return the hits that the store has, of the first service that can tell."""
        until = time.monotonic() + PATIENCE
        with ExitStack() as stack:
            channels = [stack.enter_context(grpc.insecure_channel(address)) for address in self._addresses]
            while time.monotonic() < until:
                for channel in channels:
                    try:
                        answer = stub(channel)(self._look, timeout=1.0)
                    except grpc.RpcError:
                        continue
                    return LEDGER_LIMIT - int(answer.statuses[0].limit_remaining)
                time.sleep(0.1)
        raise TimeoutError("no service tells what was recorded")


def stub(channel: grpc.Channel) -> Any:
    """Return the function that makes a call."""
    return channel.unary_unary(METHOD, bytes, _Response.FromString)


def made(call: Any, body: bytes) -> Reply:
    """Make a call; return what it came to."""
    try:
        answer = call(body, timeout=PATIENCE)
    except grpc.RpcError as error:
        return Reply.FAILED if STORE_FAILED in str(error.details()) else Reply.UNKNOWN
    return Reply.PASSED if answer.overall_code == OK else Reply.OVER


def request(value: str, hits: int, *keys: str) -> bytes:
    """Return a call with these hits on each key."""
    built = _Request(domain=DOMAIN)
    for key in keys:
        descriptor = built.descriptors.add()
        descriptor.entries.add(key=key, value=value)
        descriptor.hits_addend.value = hits
    return bytes(built.SerializeToString())


def counted(services: Sequence[Mapping[str, float]]) -> tuple[int, int, int]:
    """Return the reports that services recorded, lost and keep, from their metrics."""
    names = [f'ratelimitd_settlements_total{{domain="{DOMAIN}",key1="{key}"}}' for key in (BUDGET, LEDGER)]
    recorded = sum(found.get(name, 0.0) for found in services for name in names)
    lost = sum(found.get("ratelimitd_settlements_lost_total", 0.0) for found in services)
    waiting = sum(found.get("ratelimitd_settlements_waiting", 0.0) for found in services)
    return int(recorded), int(lost), int(waiting)
