"""load_http1.c, with a server that the test holds."""

import re
import socket
import threading
from contextlib import suppress

import pytest

from bench.load import build
from bench.load_http1 import SOURCE, load, requests
from testkit.errors import BenchError
from testkit.machine import cores

HEAD = b"GET /#### HTTP/1.1\r\nHost: a\r\nX-Id: ##\r\n\r\n"


@pytest.fixture(scope="session")
def where():
    """The cores to use; skips if load_http1.c cannot be compiled or there is only one core."""
    try:
        build(SOURCE, ())
        return cores()
    except BenchError as error:
        pytest.skip(str(error))


class Answering:
    """A server of one connection that answers each request with the same bytes, and notes the heads."""

    def __init__(self, answer):
        self.heads = []
        self._answer = answer
        self._sock = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._sock.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        connection, _ = self._sock.accept()
        with connection, self._sock, suppress(ConnectionError):
            while head := connection.recv(4096):
                self.heads.append(head)
                connection.sendall(self._answer)


@pytest.mark.process
def test_heads_differ_where_they_are_numbered(where):
    """Each run of # is the number of the request; all else stays."""
    server = Answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    with load(server.address, HEAD, 2, 1, 0.05, where.load, warm=0) as running:
        found = running.result()
    assert found.failed == 0
    assert 0 < found.p50 <= found.p99 <= found.longest
    assert (found.worst_p99, found.slow_share, found.fewest) == (found.p99, 1, found.requests)
    numbers = [
        re.fullmatch(rb"GET /(\d{4}) HTTP/1.1\r\nHost: a\r\nX-Id: (\d\d)\r\n\r\n", head) for head in server.heads
    ]
    assert all(numbers)
    assert [int(found[1]) for found in numbers[:9999]] == list(range(len(numbers[:9999])))
    assert [int(found[2]) for found in numbers[:99]] == list(range(len(numbers[:99])))


@pytest.mark.process
@pytest.mark.parametrize("answer", [b"429 No\r\nContent-Length: 2\r\n\r\nno", b"200 OK\r\nContent-Length: 0\r\n\r\n"])
def test_another_response_is_a_failure(where, answer):
    """Another status, or another body: in the warm-up it ends the run, and the status is named."""
    server = Answering(b"HTTP/1.1 %b" % answer)
    with (
        pytest.raises(BenchError, match=f"with status {answer[:3].decode()}"),
        load(server.address, HEAD, 2, 1, 1, where.load, warm=0.01),
    ):
        pass


@pytest.mark.process
@pytest.mark.parametrize(
    ("answer", "reason"),
    [(b"HTTP/1.1 200 OK\r\n\r\n", "no Content-Length"), (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nabc", "longer")],
)
def test_a_response_that_cannot_be_measured_ends_the_run(where, answer, reason):
    """The next response would be read from the middle of this one."""
    server = Answering(answer)
    with pytest.raises(BenchError, match=reason), load(server.address, HEAD, 2, 1, 1, where.load, warm=0.01):
        pass


def test_a_result_is_in_seconds():
    """Times of load_http1.c are in ns."""
    said = {
        "seconds": 2.0, "requests": 200, "failed": 1, "status": 503, "busy": 0.5, "p50": 1_500_000, "p99": 3_000_000,
        "max": 5_000_000, "worst_p99": 4_000_000, "slow_share": 0.25, "fewest": 7,
    }  # fmt: skip
    found = requests(said)
    assert (found.rate, found.p50, found.p99, found.worst_p99, found.longest) == (100.0, 0.0015, 0.003, 0.004, 0.005)
