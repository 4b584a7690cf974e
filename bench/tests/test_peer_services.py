"""The peers of --peer that the bench starts: the syntax of their commands, their policy, and their end."""

import os
import socket
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import idle, peer_services
from bench.__main__ import main
from bench.peer_services import Startable, peer, started
from bench.policy import SIZES, domain, peer_files
from testkit.errors import BenchError

FAKE = Path(__file__).with_name("fake_peer.py")

GO = "go=redis:env RUNTIME_ROOT={runtime} REDIS_URL={redis} GRPC_PORT={port} PORT={free} DEBUG_PORT={free} ratelimit"


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """The files of peers are written below the working directory."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(name="fake")
def _fake(monkeypatch):
    """A peer's text, of a program that answers by its limits file, or as the word after it says."""
    monkeypatch.setattr(peer_services, "bare", lambda: {**os.environ})

    def text(how="", store="memory"):
        redis = " {redis}" if store == "redis" else ""
        return f"fake={store}:{sys.executable} {FAKE} {{listen}} {{limits}} '{how}'{redis}"

    return text


def test_the_places_of_a_command_are_filled_in():
    """A place may be a part of a word; a quoted word stays whole; each free port is another."""
    found = peer(GO)
    assert isinstance(found, Startable)
    assert (found.name, found.store) == ("go", "redis")
    words = found.command("h:1", "r:2")
    root, redis, grpc, http, debug = words[1:6]
    assert (root, redis, grpc) == (f"RUNTIME_ROOT={Path.cwd()}/build/peers", "REDIS_URL=r:2", "GRPC_PORT=1")
    assert int(http.partition("=")[2]) != int(debug.partition("=")[2])
    quoted = peer("a=memory:b {listen} {limits} 'c d'")
    assert quoted.command("h:1") == ["b", "h:1", f"{Path.cwd()}/build/peers/limits.yaml", "c d"]


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("a=memory:b {limits}", "{listen} or {port}"),
        ("a=memory:b {port}", "{runtime} or {limits}"),
        ("a=redis:b {port} {runtime}", "{redis}"),
        ("=memory:b {port} {runtime}", ""),
        ("a=disk:b {port} {runtime}", ""),
        ("a=b {port} {runtime}", ""),
    ],
)
def test_a_command_without_an_address_or_the_policy_is_refused(text, missing):
    """The error shows the form and what is missing."""
    with pytest.raises(ValueError, match="NAME=memory") as raised:
        peer(text)
    assert missing in str(raised.value)


def test_policy_prints_the_files_that_peers_load():
    """Each with its path, and its whole text."""
    said = CliRunner().invoke(main, ["policy"])
    assert said.exit_code == 0
    for name, text in peer_files().items():
        assert f"# build/peers/{name}\n{text}" in said.output
        assert Path("build/peers", name).read_text() == text


@pytest.mark.process
@pytest.mark.parametrize("store", ["memory", pytest.param("redis", marks=pytest.mark.redis)])
def test_a_peer_that_decides_by_the_policy_is_started_and_ended(where, fake, store):
    """It has the core of the server, and a Redis on its own core where it counts in one; both end with the block."""
    with started([peer(fake(store=store))], where) as (subject,):
        assert (subject.name, subject.store) == ("fake", store)
        assert os.sched_getaffinity(subject.pid) == {where.server}
        assert [os.sched_getaffinity(pid) for pid in subject.redis] == [{where.redis}] * (store == "redis")
        assert Path(f"/proc/{subject.pid}/cmdline").read_bytes().startswith(sys.executable.encode())
    assert not any(Path(f"/proc/{pid}").exists() for pid in (subject.pid, *subject.redis))


@pytest.mark.process
@pytest.mark.parametrize(
    ("how", "wrong"),
    [
        ("never", f"1000000001 hits in domain {domain()} are OK, not OVER_LIMIT"),
        ("always", f"1 hits in domain {domain()} are OVER_LIMIT, not OK"),
        ("status", f"1 hits in domain {domain()} are OK, limits [5], not OK"),
        (domain(SIZES[-1]), f"1000000001 hits in domain {domain(SIZES[-1])} are OK, not OVER_LIMIT"),
        ("ends", "it ended"),
    ],
)
def test_a_peer_that_decides_otherwise_is_an_error_with_its_output_and_the_policy(where, fake, monkeypatch, how, wrong):
    """A peer without the policy answers OK to all, which would be another measurement. Each domain is tried."""
    monkeypatch.setattr(peer_services, "LOAD_SECONDS", 0.0)
    with pytest.raises(BenchError) as raised, started([peer(fake(how))], where):
        raise AssertionError("it was taken")
    said = str(raised.value)
    assert wrong in said
    assert f"fake peer: {how}" in said
    assert all(text in said for text in peer_files().values())


@pytest.mark.process
def test_a_peer_that_runs_is_asked_too(where, monkeypatch):
    """Nothing listens: the error says so, and there is no output to show."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    monkeypatch.setattr(peer_services, "READY_SECONDS", 0.0)
    with (
        pytest.raises(BenchError, match=r"(?s)UNAVAILABLE.*its output:\n\(none\)"),
        started([peer(f"go={address},store=memory")], where),
    ):
        raise AssertionError("it was taken")


@pytest.mark.process
def test_idle_measures_a_peer_from_its_start(where, fake):
    """Memory after each start, and the CPU until it decides; of one that runs, its memory alone."""
    scale = idle.Scale(repeats=2, settle=0.0)
    repeats = idle.of_peer(peer(fake()), scale, where)
    assert len(repeats) == 2
    assert all(each["resident"] > each["own"] > 0 and each["cpu"] > 0 for each in repeats)
    with started([peer(fake())], where) as (subject,):
        (held,) = idle.of_peer(subject, scale, where)
    assert held.keys() == {"resident", "own"}
