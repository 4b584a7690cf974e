"""Each fault of the proxy does what it says, to a real redis-server."""

import os
import socket
import threading
import time
from pathlib import Path

import pytest

from testkit.fault_proxy import Way, fault_proxy
from testkit.redis_server import redis_server, until

pytestmark = pytest.mark.redis

AT_ONCE = 0.1
"""Seconds in which an answer that is not kept back has come."""


@pytest.fixture(scope="module")
def server():
    with redis_server() as running:
        yield running


@pytest.fixture
def proxy(server):
    with fault_proxy(server.address) as running:
        yield running


class Client:
    """A raw connection that asks in inline commands."""

    def __init__(self, proxy, seconds=10.0):
        self.socket = socket.create_connection(("127.0.0.1", proxy.port), timeout=seconds)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *commands):
        self.socket.sendall("".join(f"{each}\r\n" for each in commands).encode())

    def read(self, size):
        got = b""
        while len(got) < size and (more := self.socket.recv(size - len(got))):
            got += more
        return got

    def ask(self, command, answer):
        self.send(command)
        assert self.read(len(answer)) == answer

    def nothing(self):
        """Whether nothing comes for a while, not even an end."""
        self.socket.settimeout(AT_ONCE)
        try:
            return self.socket.recv(1) == b"?"
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(10.0)


@pytest.fixture
def client(proxy):
    with Client(proxy) as connected:
        connected.ask("PING", b"+PONG\r\n")
        yield connected


@pytest.mark.parametrize("tcp", [True, False])
def test_without_faults_every_byte_passes(tcp):
    """A megabyte goes to a server on TCP or a unix socket and comes back the same, counted."""
    value = os.urandom(1 << 20)
    with redis_server(tcp=tcp) as server, fault_proxy(server.address) as proxy, Client(proxy) as client:
        client.socket.sendall(b"*2\r\n$4\r\nECHO\r\n$%d\r\n%b\r\n" % (len(value), value))
        expected = b"$%d\r\n%b\r\n" % (len(value), value)
        assert client.read(len(expected)) == expected
        until(lambda: proxy.replies.bytes == len(expected), "counted")
        assert proxy.requests.bytes > len(value)
        assert proxy.counts["accepted"] == 1


@pytest.mark.alone
@pytest.mark.parametrize("way", ["requests", "replies"])
def test_delay_is_latency_and_not_a_queue(proxy, client, way):
    """Each answer is late by the delay, and many on the way at once are no later than one."""
    proxy.set(**{way: Way(delay=0.2)})
    began = time.monotonic()
    for _ in range(20):
        client.send("PING")
        time.sleep(0.001)  # a chunk of its own
    assert client.read(7 * 20) == b"+PONG\r\n" * 20
    assert 0.2 <= time.monotonic() - began < 1.0
    assert proxy.counts["delay"] > 1


@pytest.mark.alone
def test_jitter_keeps_the_order(proxy, client):
    """Replies that are late by chance come in the order they were sent, and not all equally late."""
    proxy.set(replies=Way(jitter=0.05))
    late = []
    for turn in range(10):
        began = time.monotonic()
        client.ask(f"ECHO {turn}", b"$1\r\n%d\r\n" % turn)
        late.append(time.monotonic() - began)
    assert max(late) - min(late) > 0.005
    for turn in range(10):
        client.send(f"ECHO {turn}")
        time.sleep(0.001)  # a chunk of its own
    assert client.read(70) == b"".join(b"$1\r\n%d\r\n" % turn for turn in range(10))


def test_replies_that_are_held_come_when_it_is_over(proxy, client, server):
    """The command is executed, its reply is kept back, and comes after the fault."""
    with server.client() as direct:
        direct.delete("held")
        with proxy.fault(replies=Way(hold=True)):
            client.send("INCR held")
            until(lambda: direct.get("held") == b"1", "executed")
            assert client.nothing()
        assert client.read(4) == b":1\r\n"
    assert proxy.counts["hold"] == 1


def test_requests_that_are_held_are_not_executed(proxy, client, server):
    """A command that is kept back reaches the server after the fault."""
    with server.client() as direct:
        direct.delete("held")
        with proxy.fault(requests=Way(hold=True)):
            client.send("INCR held")
            until(lambda: proxy.counts["hold"] == 1, "held")
            assert direct.get("held") is None
        assert client.read(4) == b":1\r\n"


def test_the_end_of_a_connection_is_held_too():
    """As with a cable that is out, nobody hears that the server has died."""
    with redis_server() as server, fault_proxy(server.address) as proxy, Client(proxy) as client:
        client.ask("PING", b"+PONG\r\n")
        with proxy.fault(replies=Way(hold=True)):
            server.kill()
            assert client.nothing()
        assert client.read(1) == b""


def test_replies_that_are_dropped_never_come(proxy, client):
    """The next reply on the same connection is that of the next command."""
    with proxy.fault(replies=Way(drop=True)):
        client.send("ECHO lost")
        until(lambda: proxy.counts["drop"] == 1, "dropped")
    client.ask("ECHO next", b"$4\r\nnext\r\n")


@pytest.mark.parametrize("most", [0, 3])
def test_a_reply_that_is_cut_ends_the_connection(proxy, client, server, most):
    """So many bytes of a reply come, then the end, though the command was executed; others are not hurt after."""
    with server.client() as direct, proxy.fault(replies=Way(cut=most)):
        direct.delete("cut")
        client.send("INCRBY cut 1000")
        assert client.read(100) == b":1000\r\n"[:most]
        assert direct.get("cut") == b"1000"
    assert proxy.counts["cut"] == 1
    with Client(proxy) as other:
        other.ask("PING", b"+PONG\r\n")


def test_a_cut_counts_from_when_it_is_set(proxy, client):
    """What a connection has received before is no part of its bytes; whole replies within them pass."""
    proxy.set(replies=Way(cut=10))
    client.ask("PING", b"+PONG\r\n")
    client.send("PING")
    assert client.read(100) == b"+PO"


def test_pieces_come_one_by_one(proxy, client):
    """A reply comes in many reads and is whole in the end."""
    proxy.set(replies=Way(piece=1))
    client.send("ECHO 0123456789012345678901234567890123456789")
    got = []
    while sum(map(len, got)) < 47:
        got.append(client.socket.recv(100))
    assert b"".join(got) == b"$40\r\n0123456789012345678901234567890123456789\r\n"[:47]
    assert len(got) > 2
    assert proxy.counts["piece"] == 1


def test_silent_connections_are_accepted_and_nothing_comes(proxy, client):
    """New ones get no answer until it is over; those that were open do."""
    with proxy.fault(connects="silent"), Client(proxy) as late:
        late.send("PING")
        assert late.nothing()
        client.ask("PING", b"+PONG\r\n")
        proxy.heal()
        assert late.read(7) == b"+PONG\r\n"
    assert proxy.counts["silent"] == 1


def test_unanswered_connections_do_not_come_about(proxy, client):
    """To connect takes as long as the caller waits; those that were open work, and all do after the fault."""
    for _ in range(2):
        with proxy.fault(connects="unanswered"):
            with pytest.raises(TimeoutError):
                Client(proxy, AT_ONCE)
            client.ask("PING", b"+PONG\r\n")
        with Client(proxy) as after:
            after.ask("PING", b"+PONG\r\n")
    assert (proxy.counts["unanswered"], proxy.counts["accepted"]) == (2, 3)


def test_reset_ends_open_connections(proxy, client):
    """They get an RST and not an end; new ones are served."""
    assert proxy.reset() == 1
    with pytest.raises(ConnectionResetError):
        client.socket.recv(1)
    assert (proxy.open, proxy.counts["reset"]) == (0, 1)
    with Client(proxy) as other:
        other.ask("PING", b"+PONG\r\n")


def test_new_connections_can_be_reset(proxy, client):
    """They get an RST, those that were open do not."""
    with proxy.fault(connects="reset"):
        _refused(proxy)
    client.ask("PING", b"+PONG\r\n")


def test_without_a_server_connections_are_reset(tmp_path):
    """As nearly as a proxy can it says that nobody listens there; once somebody does it forwards."""
    with fault_proxy(str(tmp_path / "nobody")) as proxy:
        _refused(proxy)
        with redis_server() as server:
            proxy.upstream = server.address
            with Client(proxy) as client:
                client.ask("PING", b"+PONG\r\n")


@pytest.mark.parametrize(
    "faults",
    [{"replies": Way(hold=True)}, {"replies": Way(delay=60)}, {"connects": "silent"}, {"connects": "unanswered"}, {}],
    ids=["held", "delayed", "silent", "unanswered", "healthy"],
)
def test_nothing_of_it_is_left(server, faults):
    """When it ends so do its connections, thread and sockets, whatever fault is on."""
    before = _held()
    with fault_proxy(server.address) as proxy, Client(proxy) as client:
        client.ask("PING", b"+PONG\r\n")
        proxy.set(**faults)
        client.send("PING")
        if faults.get("connects") != "unanswered":
            Client(proxy).socket.close()
    assert _held() == before


def _refused(proxy):
    """A new connection is reset, perhaps before it is known to be there."""
    with pytest.raises(ConnectionResetError), Client(proxy) as refused:
        refused.socket.recv(1)


def _held():
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()
