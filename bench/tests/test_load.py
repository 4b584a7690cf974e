"""Output of the load generators, and load.c with a real service."""

import subprocess

import pytest

from bench import rls
from bench.builds import GRPCIO, Build
from bench.cases import Case, Scale
from bench.load import FailedCallsError, Load, build, frame, parse_h2load, parse_wrk, result, run
from bench.policy import policy, requests
from testkit.errors import BenchError
from testkit.server import service

H2LOAD = """
finished in 2.00s, 4726.50 req/s, 461.21KB/s
requests: 9453 total, 9453 started, 9453 done, 9453 succeeded, {failed} failed, 0 errored, 0 timeout
"""

WRK = """
  2 threads and 4 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   421.97us  163.06us   4.29ms   86.86%
  Latency Distribution
     50%  420.00us
     75%  460.00us
     90%    1.20ms
     99%    2.05ms
  18720 requests in 2.00s, 3.07MB read
Requests/sec:   9358.12
Transfer/sec:      1.53MB
"""

SAID = {
    "seconds": 2.0, "calls": 200, "failed": 0, "ok": 190, "over_limit": 10, "answer_bytes": 24.0, "busy": 0.5,
    "p50": 1_500_000, "p90": 2_000_000, "p99": 3_000_000, "p999": 4_000_000, "max": 5_000_000, "statuses": {"0": 200},
}  # fmt: skip


def test_h2load_gives_its_rate_and_none_when_a_request_failed():
    """The rate of h2load is parsed; a run with a failed request is an error."""
    assert parse_h2load(H2LOAD.format(failed=0)) == 4726.5
    with pytest.raises(FailedCallsError, match="1 failed"):
        parse_h2load(H2LOAD.format(failed=1))


@pytest.mark.parametrize("text", ["", "finished in 1.00s, 0.00 req/s\n0 succeeded, 0 failed, 0 errored, 0 timeout"])
def test_h2load_that_measured_nothing_is_an_error(text):
    """An h2load that could not connect is an error and not a slow service."""
    with pytest.raises(BenchError):
        parse_h2load(text)


def test_wrk_latencies_are_read_in_seconds_whatever_their_unit():
    """The units that wrk mixes in one table are converted to seconds."""
    web = parse_wrk(WRK)
    assert (web.requests, web.failed, web.rate) == (18_720, 0, 9358.12)
    assert (web.p50, web.p99) == pytest.approx((0.000420, 0.00205))


def test_wrk_failures_of_every_kind_are_counted():
    """Responses other than 2xx and socket errors are added."""
    failed = "  Socket errors: connect 0, read 1, write 0, timeout 2\n  Non-2xx or 3xx responses: 4\n"
    assert parse_wrk(WRK.replace("Requests/sec", f"{failed}Requests/sec")).failed == 7


def test_a_result_is_in_seconds_and_calls_a_second():
    """Times of load.c in ns are converted to seconds, and the rate refers to the measured time."""
    said = result(SAID, [0.5])
    assert (said.p50, said.p99, said.worst, said.rate, said.cpu) == (0.0015, 0.003, 0.005, 100.0, (0.5,))


@pytest.mark.parametrize("changed", [{"failed": 1}, {"calls": 0}])
def test_a_run_with_a_failed_call_or_none_at_all_is_no_result(changed):
    """A run with a failed call, or without calls, is an error."""
    with pytest.raises(FailedCallsError):
        result(SAID | changed)


@pytest.mark.alone
@pytest.mark.process
def test_a_short_run_measures_a_real_service(where):
    """A short measurement has no failed call, and all numbers."""
    scale = Scale(repeats=1, seconds=0.3, alone_seconds=0.1, many=10)
    notes = []
    (found,) = rls.measure_case(Case("short", keys=10), scale, [Build(GRPCIO, "grpcio")], [], where, notes)
    assert notes == []
    assert found["rate"]["median"] > 0
    assert found["cpu"]["median"] > 0
    assert 0 < found["alone_p50"]["median"] <= found["alone_p99"]["median"]
    assert found["answer_bytes"]["median"] > 7


@pytest.mark.process
def test_load_sees_calls_that_fail(where):
    """A request that the service rejects is a failed call by its gRPC status, although HTTP reports 200."""
    with service("grpcio", policy(), where.server) as subject, pytest.raises(FailedCallsError, match=r"'3': "):
        run(subject.address, [frame(b"\xff")], Load(1, 1, 0.1), where.load)


@pytest.mark.process
def test_load_says_why_it_cannot_measure(where):
    """A refused connection is an error with a reason."""
    with pytest.raises(BenchError, match="cannot connect"):
        run("127.0.0.1:1", requests(), Load(1, 1, 0.1), where.load)


@pytest.mark.process
def test_load_refuses_a_request_that_is_cut_short(where, tmp_path):
    """A file that ends within a request is rejected."""
    file = tmp_path / "frames"
    file.write_bytes(next(requests())[:-1])
    words = ["127.0.0.1", "1", "/", str(file), "1", "1", "1", "0", "0", "0", "grpc"]
    said = subprocess.run([build(), *words], capture_output=True, text=True, check=False)
    assert said.returncode == 1
    assert "cut short" in said.stderr
