"""The service alone: calls per second, latency, CPU and memory; each case varies one parameter of a base case."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final, NamedTuple

from bench.load import WARMUP, FailedCallsError, Load, h2load, run
from bench.measure import digits, ratio, shown, spreads, thousands
from bench.policy import SPREAD, policy, requests
from bench.report import Report
from ratelimitd.algorithms import ALGORITHMS
from testkit import server
from testkit.errors import BenchError
from testkit.machine import Cores, cores, pin, rss_bytes
from testkit.server import Subject

CONNECTIONS, STREAMS = 8, 16
"""The load at the maximum rate: like eight Envoy workers with 16 calls in flight each."""

TLS_FLAG: Final = "--grpc-server-use-tls"
COLUMNS: Final = (
    "case", "served by", "calls/s", "CPU µs/call", "p50 ms", "p99 ms", "alone p50 µs", "alone p99 µs", "MB",
)  # fmt: skip


class Case(NamedTuple):
    """One case of the table; the defaults are the base case."""

    name: str
    store: str = "memory"
    descriptors: int = 1
    keys: int = 1
    rules: int = 1
    tls: bool = False
    algorithm: str = ""

    @property
    def peers(self) -> bool:
        """Whether a peer with the policy of the bench can run this case."""
        return not self.tls and self.rules == 1 and not self.algorithm


BASE: Final = Case("memory")


class Scale(NamedTuple):
    """How much to measure.

    Attributes:
        warm: seconds of load before each measurement.
        many: number of keys or rules of a large case.
        every: whether to measure every transport in every case; otherwise only the first one after the base case.
    """

    repeats: int = 3
    seconds: float = 5.0
    alone_seconds: float = 2.0
    warm: float = WARMUP
    many: int = 100_000
    every: bool = True


QUICK: Final = Scale(repeats=1, seconds=0.5, alone_seconds=0.2, warm=0.2, many=2_000, every=False)


def cases(scale: Scale) -> list[Case]:
    """Return every case."""
    many = f"{scale.many:,}"
    return [
        BASE,
        Case("memory, 3 descriptors", descriptors=3),
        Case(f"memory, {many} keys", keys=scale.many),
        Case(f"memory, {many} rules", rules=scale.many),
        Case("memory, TLS", tls=True),
        Case("Redis", store="redis"),
        Case("Redis, 3 descriptors", store="redis", descriptors=3),
        Case(f"Redis, {many} keys", store="redis", keys=scale.many),
        Case("Redis cluster of 3", store="cluster"),
        Case("Redis cluster of 3, 3 descriptors", store="cluster", descriptors=3),
        Case(f"Redis cluster of 3, {many} keys", store="cluster", keys=scale.many),
        *(Case(f"memory, {SPREAD:,} keys, {name}", keys=SPREAD, algorithm=name) for name in ALGORITHMS),
    ]


def measure(scale: Scale, peers: Sequence[Subject], command: str) -> Report:
    """Measure every case with every transport and peer."""
    where = cores()
    for each in peers:
        if each.pid:
            pin(each.pid, where.server)
    transports, notes = server.transports()
    if peers:
        notes.append("a peer uses its own store in every row")
    data: list[dict[str, Any]] = []
    for case in cases(scale):
        if case.tls and not server.has(TLS_FLAG):
            notes.append(f"{case.name}: not measured, `serve` has no {TLS_FLAG}")
            continue
        chosen = transports if scale.every or case == BASE else transports[:1]
        data += measure_case(case, scale, chosen, peers if case.peers else (), where, notes)
    first = transports[0]
    return Report(
        "rls",
        f"RLS: one core, {CONNECTIONS} connections with {STREAMS} concurrent calls each, then one call at a time",
        (*COLUMNS, f"{first} speedup"),
        [_row(each, data, first) for each in data],
        [_about(where, scale), *_busiest(data), *notes],
        data,
        command,
    )


def measure_case(
    case: Case, scale: Scale, transports: Sequence[str], peers: Sequence[Subject], where: Cores, notes: list[str]
) -> list[dict[str, Any]]:
    """Measure a case; all services run at the same time and are measured alternately, so that conditions are equal."""
    found: dict[str, list[dict[str, float]]] = {}
    with _subjects(case, transports, where) as started:
        for _ in range(scale.repeats):
            for subject in (*started, *peers):
                found.setdefault(subject.name, [])
                try:
                    found[subject.name].append(_once(case, scale, subject, where))
                except FailedCallsError as error:
                    notes.append(f"{case.name}, {subject.name}: not quoted, {error}")
        if case == BASE:
            notes += [note for subject in started for note in _cross_check(subject, scale, where)]
    return [
        {"case": case.name, "by": name, **{key: value._asdict() for key, value in spreads(repeats).items()}}
        for name, repeats in found.items()
        if len(repeats) == scale.repeats
    ]


@contextmanager
def _subjects(case: Case, transports: Sequence[str], where: Cores) -> Iterator[list[Subject]]:
    """Start the service once for each transport, with the store and certificate of the case."""
    with ExitStack() as stack:
        env: dict[str, str] = {}
        if case.store == "redis":
            env["REDIS_URL"] = stack.enter_context(server.redis(where))[0]
        if case.store == "cluster":
            env |= {"REDIS_URL": stack.enter_context(server.redis_cluster(where)), "REDIS_TYPE": "cluster"}
        if case.tls:
            env |= stack.enter_context(server.certificate())
        text = policy(case.rules, case.algorithm)
        yield [stack.enter_context(server.service(name, text, where.server, env)) for name in transports]


def _once(case: Case, scale: Scale, subject: Subject, where: Cores) -> dict[str, float]:
    """Measure a service once at the maximum rate, and once with one call at a time."""
    frames = [*requests(case.descriptors, case.keys, first=case.rules // 2)]
    watch = [subject.pid] if subject.pid else []
    scheme = "grpcs" if case.tls else "grpc"
    full = Load(CONNECTIONS, STREAMS, scale.seconds, scale.warm, warm_calls=len(frames), scheme=scheme)
    busy = run(subject.address, frames, full, where.load, watch=watch)
    alone = run(subject.address, frames, Load(1, 1, scale.alone_seconds, scale.warm, scheme=scheme), where.load)
    measured = {
        "rate": busy.rate,
        "p50": busy.p50,
        "p99": busy.p99,
        "alone_p50": alone.p50,
        "alone_p99": alone.p99,
        "answer_bytes": busy.answer_bytes,
        "over_limit": busy.over_limit / busy.calls,
        "load_busy": busy.busy,
    }
    if watch:
        measured |= {"cpu": busy.cpu[0] / busy.calls, "rss": float(rss_bytes(subject.pid))}
    return measured


def _cross_check(subject: Subject, scale: Scale, where: Cores) -> Iterator[str]:
    """Return a note with the throughput of the base case that h2load measures."""
    body = next(requests())
    try:
        rate = h2load(subject.address, body, Load(CONNECTIONS, STREAMS, max(1, int(scale.seconds))), where.load)
    except FailedCallsError as error:
        raise BenchError(str(error)) from error
    if rate is not None:
        measured = f"{thousands(rate)} calls/s: memory, {subject.name}"
        yield f"h2load, which does not check the gRPC status, measures {measured}"


def _about(where: Cores, scale: Scale) -> str:
    redis = "its own core" if where.redis != where.load else "the load's core"
    return (
        f"server on core {where.server}, load on core {where.load}, Redis on {redis}; "
        f"{scale.repeats} repeats of {scale.seconds:g} s, median (least-most); no call of these runs failed"
    )


def _busiest(data: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Return a note with the largest share of its core that the load generator used."""
    if data:
        most = max(data, key=lambda each: float(each["load_busy"]["median"]))
        busiest = f"{most['load_busy']['median']:.0%} of its core: {most['case']}, {most['by']}"
        yield f"the load generator used at most {busiest}"


def _row(each: dict[str, Any], data: Sequence[dict[str, Any]], first: str) -> list[str]:
    def cell(name: str, scale: float, form: Any = digits) -> str:
        return shown(each, name, scale, form) if name in each else ""

    theirs = next((other for other in data if other["case"] == each["case"] and other["by"] == first), None)
    times = None if theirs in (None, each) else ratio(theirs["rate"]["median"], each["rate"]["median"])
    return [
        each["case"],
        each["by"],
        cell("rate", 1, thousands),
        cell("cpu", 1e6),
        cell("p50", 1e3),
        cell("p99", 1e3),
        cell("alone_p50", 1e6),
        cell("alone_p99", 1e6),
        cell("rss", 1e-6),
        f"{times:.1f}x" if times else "",
    ]
