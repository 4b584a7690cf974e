"""The service alone: calls per second, latency, CPU and memory, beside peers; and further policies, ours alone."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from bench import beside, peer_services
from bench.builds import GRPCIO, STORE_BUDGET, Build, builds
from bench.cases import Case, Scale, further_rows, main_rows
from bench.load import FailedCallsError, Load, h2load, run
from bench.measure import digits, shown, thousands
from bench.peer_services import Peer
from bench.report import Report
from testkit import server
from testkit.errors import BenchError
from testkit.machine import Cores, cores, rss_bytes
from testkit.server import Subject

CONNECTIONS, STREAMS = 8, 16
"""The load at the maximum rate: like eight Envoy workers with 16 calls in flight each."""

TRIES: Final = 3
"""Attempts at a measurement in which no call fails: other work on the machine may take Redis its core for 15 ms."""

COLUMNS: Final = (
    "case", "served by", "calls/s", "CPU µs/call", "Redis µs/call", "p50 ms", "p99 ms", "alone p50 µs", "alone p99 µs",
    "MB",
)  # fmt: skip

RATIOS: Final = {"rate": "calls/s", "cpu": "CPU", "alone_p50": "alone p50"}
"""The columns of ratios for each peer: titles by number."""


def measure(scale: Scale, peers: Sequence[Peer], command: str) -> Report:
    """Measure the main rows with every build, and peers in the rows of their store."""
    cases = main_rows(scale.many)
    title = f"RLS: one core, {CONNECTIONS} connections with {STREAMS} concurrent calls each, then one call at a time"
    return _report("rls", title, cases, scale, peers, command)


def measure_further(scale: Scale, command: str) -> Report:
    """Measure the further rows, of the first build."""
    title = f"RLS, further policies: one core, {CONNECTIONS} connections with {STREAMS} concurrent calls each"
    return _report("policies", title, further_rows(scale.many), scale._replace(every=False), [], command)


def _report(part: str, title: str, cases: Sequence[Case], scale: Scale, peers: Sequence[Peer], command: str) -> Report:
    where = cores()
    chosen, notes = builds()
    data: list[dict[str, Any]] = []
    for number, case in enumerate(cases):
        ours = [build for build in chosen if measured_in(build, case)] if scale.every else chosen[:1]
        theirs = [each for each in peers if case.peers and each.store == case.store]
        data += measure_case(case, scale, ours, theirs, where, notes)
        if number == 0:
            notes += _cross_check(case, scale, chosen[0], where)
    return Report(
        part,
        title,
        (*COLUMNS, *beside.columns(peers, RATIOS)),
        [_row(each, peers) for each in data],
        [_about(where, scale), *_about_peers(peers), *_busiest(data), *notes],
        data,
        command,
    )


def measured_in(build: Build, case: Case) -> bool:
    """Return whether a build has a row in a case: grpcio, many times slower, only with one hot key."""
    return build.name != GRPCIO or (case.keys == 1 and case.rules == 1)


def measure_case(
    case: Case, scale: Scale, chosen: Sequence[Build], peers: Sequence[Peer], where: Cores, notes: list[str]
) -> list[dict[str, Any]]:
    """Measure a case; all services run at the same time and are measured alternately, so that conditions are equal."""
    rounds: dict[str, list[dict[str, float]]] = {}
    frames = [*case.requests()]
    with _subjects(case, chosen, where) as ours, peer_services.started(peers, where) as theirs:
        for number in range(scale.repeats):
            for subject in (*ours, *theirs):
                measured = _without_failures(case, frames, scale, subject, where, notes, warm=number == 0)
                rounds.setdefault(subject.name, []).extend(measured)
    return beside.rows({"case": case.name}, rounds, scale.repeats, [*RATIOS])


def _without_failures(
    case: Case,
    frames: Sequence[bytes],
    scale: Scale,
    subject: Subject,
    where: Cores,
    notes: list[str],
    *,
    warm: bool,
) -> list[dict[str, float]]:
    """Measure once, and again if a call failed, up to ``TRIES`` times; return nothing if one failed in each."""
    for left in reversed(range(TRIES)):
        try:
            return [_once(case, frames, scale, subject, where, warm=warm)]
        except FailedCallsError as error:
            notes.append(f"{case.name}, {subject.name}: {'measured again' if left else 'not quoted'}, {error}")
    return []


@contextmanager
def _subjects(case: Case, chosen: Sequence[Build], where: Cores) -> Iterator[list[Subject]]:
    """Start each build of the service with the policy of the case, each with a store of its own, as peers have."""
    with ExitStack() as stack:
        tls = stack.enter_context(server.certificate()) if case.tls else {}
        started = []
        for build in chosen:
            env, redis = _store(case, where, stack)
            settings = {**build.env, **tls, **env}
            subject = stack.enter_context(server.service(build.transport, case.policy(), where.server, settings))
            started.append(subject._replace(name=build.name, redis=redis))
        yield started


def _store(case: Case, where: Cores, stack: ExitStack) -> tuple[dict[str, str], tuple[int, ...]]:
    """Start the store of a case; return the settings of a service that uses it, and its processes."""
    if case.store == "redis":
        address, pid = stack.enter_context(server.redis(where))
        return {"REDIS_URL": address}, (pid,)
    if case.store == "cluster":
        nodes, pids = stack.enter_context(server.redis_cluster(where))
        return {"REDIS_URL": nodes, "REDIS_TYPE": "cluster", "STORE_BUDGET": STORE_BUDGET}, pids
    return {}, ()


def _once(
    case: Case, frames: Sequence[bytes], scale: Scale, subject: Subject, where: Cores, *, warm: bool
) -> dict[str, float]:
    """Measure a service once at the maximum rate, ``warm`` after a call of each key, and with one call at a time."""
    watch = [subject.pid] if subject.pid else []
    scheme = "grpcs" if case.tls else "grpc"
    full = Load(CONNECTIONS, STREAMS, scale.seconds, scale.warm, len(frames) if warm else 0, scheme=scheme)
    busy = run(subject.address, frames, full, where.load, watch=[*watch, *subject.redis])
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
    if subject.redis:
        measured["redis_cpu"] = sum(busy.cpu[len(watch) :]) / busy.calls
    return measured


def _cross_check(case: Case, scale: Scale, build: Build, where: Cores) -> Iterator[str]:
    """Return a note with the throughput of one hot key that h2load measures."""
    hot = case._replace(keys=1)
    load = Load(CONNECTIONS, STREAMS, max(1, int(scale.seconds)))
    with _subjects(hot, [build], where) as (subject,):
        try:
            rate = h2load(subject.address, next(hot.requests()), load, where.load)
        except FailedCallsError as error:
            raise BenchError(str(error)) from error
    if rate is not None:
        measured = f"{thousands(rate)} calls/s: memory, one hot key, {build.name}"
        yield f"h2load, which does not check the gRPC status, measures {measured}"


def _about(where: Cores, scale: Scale) -> str:
    redis = "its own core" if where.redis != where.load else "the load's core"
    return (
        f"server on core {where.server}, load on core {where.load}, Redis on {redis}; each service with a Redis of its "
        f"own; {scale.repeats} repeats of {scale.seconds:g} s, measured in turn, median (least-most); no call of these "
        "runs failed"
    )


def _about_peers(peers: Sequence[Peer]) -> Iterator[str]:
    if peers:
        stores = ", ".join(f"{each.name}: {'Redis' if each.store == 'redis' else each.store}" for each in peers)
        yield f"a peer is measured in the rows of the store that it uses ({stores})"
        yield "÷: the row's number divided by the peer's of the same case and round"


def _busiest(data: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Return a note with the largest share of its core that the load generator used."""
    if data:
        most = max(data, key=lambda each: float(each["load_busy"]["median"]))
        busiest = f"{most['load_busy']['median']:.0%} of its core: {most['case']}, {most['by']}"
        yield f"the load generator used at most {busiest}"


def _row(each: Mapping[str, Any], peers: Sequence[Peer]) -> list[str]:
    def cell(name: str, scale: float, form: Any = digits) -> str:
        return shown(each, name, scale, form) if name in each else ""

    return [
        str(each["case"]),
        str(each["by"]),
        cell("rate", 1, thousands),
        cell("cpu", 1e6),
        cell("redis_cpu", 1e6),
        cell("p50", 1e3),
        cell("p99", 1e3),
        cell("alone_p50", 1e6),
        cell("alone_p99", 1e6),
        cell("rss", 1e-6),
        *beside.cells(each, peers, RATIOS),
    ]
