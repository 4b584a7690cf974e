"""Replicas ask one another: each failure has its name, and none keeps the others from being shown."""

import asyncio
import json
import socket
from contextlib import AsyncExitStack

import aiohttp
import pytest

from ratelimitd.admin import HASHED, KEYS_HEADER, NotTogetherError
from ratelimitd.app import asking
from ratelimitd.app import replicas as replicas_module
from ratelimitd.app.json_pieces import decoded
from ratelimitd.app.peer_tls import PeerTls
from ratelimitd.net.tls import TlsFiles
from ratelimitd.settings import load
from testkit.redis_server import free_port
from testkit.tls_files import tls_files
from tests.app.replicated import TOKEN, Shown, listening, named, replicas, rows
from tests.live.documents import EPOCH, history, key, limit, limits, row


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A test machine may be slower than any replica; what has to time out says so."""
    monkeypatch.setattr(asking, "SECONDS", 30.0)


def impatient(monkeypatch):
    monkeypatch.setattr(asking, "SECONDS", 0.5)


@pytest.fixture
async def stack():
    async with AsyncExitStack() as found:
        yield found


async def test_replicas_are_merged(stack):
    """The numbers of all of them, and a row of each; this one is the first."""
    views = [Shown(f"pod-{number}", history=history(allowed=[number, 0, 0])) for number in range(3)]
    addresses = [await stack.enter_async_context(listening(view)) for view in views[1:]]
    asking_all = replicas(views[0], *addresses)

    found = await asking_all.all_of("history", {"all": "1"}, True)
    assert (found["allowed"], found["counters"]) == ([3, 0, 0], "each")
    assert [(each["name"], each["self"], each["address"]) for each in found["replicas"]] == [
        ("pod-0", True, ""),
        *sorted([("pod-1", False, addresses[0]), ("pod-2", False, addresses[1])], key=lambda each: each[2]),
    ]
    overall = await asking_all.all_of("overview", {}, True)
    assert overall["live"]["max_bytes"] == 3 << 23
    assert overall["replica"]["name"] == "pod-0"


async def test_a_search_is_asked_of_all_as_it_was_sent(stack):
    """Also bytes that are no UTF-8, which a name in a policy may have."""
    other = Shown("pod-1", limits=limits(row()))
    address = await stack.enter_async_context(listening(other))
    asking_all = replicas(Shown("pod-0", limits=limits()), address)
    found = await asking_all.all_of("limits", {"search": "\udcff"}, True)
    assert [each["id"] for each in found["limits"]] == [row()["id"]]
    assert [query.search for query, _ in other.asked if query != "overview"] == ["\udcff"]


async def test_a_replica_is_counted_once(stack):
    """Its own answer, and a second address of another, add nothing."""
    own, other = Shown("pod-0", history=history(allowed=[1, 0, 0])), Shown("pod-1", history=history(allowed=[10, 0, 0]))
    addresses = [await stack.enter_async_context(listening(view)) for view in (own, other, other)]

    found = await replicas(own, *addresses).all_of("history", {}, True)
    assert found["allowed"] == [11, 0, 0]
    assert len(found["replicas"]) == 2
    assert found["replicas"][0]["address"] == addresses[0]


async def test_what_fails_is_named(stack, monkeypatch):
    """A process that is stopped, a port where nothing listens, another token, another version: each is a row."""
    impatient(monkeypatch)
    other = named("pod-9")
    other["version"] = 2
    silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    good = await stack.enter_async_context(listening(Shown("pod-1")))
    locked = await stack.enter_async_context(listening(Shown("pod-2"), token="another-token-0123456789"))
    newer = await stack.enter_async_context(listening(Shown("pod-3", overview=other)))
    stopped, nothing = f"127.0.0.1:{silent.getsockname()[1]}", f"127.0.0.1:{free_port()}"

    found = await replicas(Shown("pod-0"), good, stopped, nothing, locked, newer, "no-such-name.invalid").replicas()
    assert found["configured"] is True
    assert rows(found) == {
        "pod-0": "ok",
        "pod-1": "ok",
        stopped: "timeout",
        nothing: "refused",
        locked: "unauthorized",
        newer: "failed",
        "no-such-name.invalid:6071": "failed",
    }
    errors = {each["address"]: each["error"] for each in found["replicas"]}
    assert "no whole response" in errors[stopped]
    assert "401" in errors[locked]
    assert "version 2 of the documents" in errors[newer]
    assert "cannot be resolved" in errors["no-such-name.invalid:6071"]


@pytest.mark.parametrize(
    ("status", "body", "state", "error"),
    [
        (b"200 OK", b"[]", "failed", "it is no object"),
        (b"200 OK", b"<html>", "failed", "no JSON"),
        (b"200 OK", b"[" * 100_000, "failed", "no JSON"),
        (b"200 OK", b"x" * (2 << 20), "failed", "larger than 1024 KiB"),
        (b"404 Not Found", b"", "failed", "set LIVE_MAX_BYTES"),
        (b"429 Too Many Requests", b"", "unauthorized", "429"),
        (b"500 Oh", b"", "failed", "it answered 500"),
        (b"302 Found", b"", "failed", "it answered 302"),
        (b"gibberish", b"", "failed", ""),
    ],
)
async def test_what_is_no_replica_is_not_merged(stack, status, body, state, error):
    """PEERS may lead to anything that speaks, or does not speak, HTTP."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status, len(body), body))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    stack.push_async_callback(server.wait_closed)
    stack.callback(server.close)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    found = await replicas(Shown("pod-0", history=history(allowed=[1, 2, 3])), address).all_of("history", {}, True)
    assert found["allowed"] == [1, 2, 3]
    assert found["replicas"][1]["state"] == state
    assert error in found["replicas"][1]["error"]


async def test_all_addresses_of_a_name_are_asked(stack, monkeypatch):
    """A headless service has the address of each pod; the name is asked again after some seconds."""
    port, answers = free_port(), ["127.0.0.1", "127.0.0.2", "127.0.0.1"]
    for number, host in enumerate(sorted(set(answers))):
        await stack.enter_async_context(listening(Shown(f"pod-{number + 1}"), host=host, port=port))
    asked = []

    async def getaddrinfo(host, *_, **__):
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in answers]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    asking_all = replicas(Shown("pod-0"), "ratelimitd-peers", port=port)
    assert rows(await asking_all.replicas()) == {"pod-0": "ok", "pod-1": "ok", "pod-2": "ok"}
    answers.remove("127.0.0.2")
    assert len(rows(await asking_all.replicas())) == 3
    monkeypatch.setattr(replicas_module, "RESOLVED_SECONDS", 0.0)
    assert rows(await asking_all.replicas()) == {"pod-0": "ok", "pod-1": "ok"}
    assert asked == ["ratelimitd-peers"] * 2


async def test_a_replica_that_is_silent_costs_one_question_its_time(stack, monkeypatch):
    """The next ones do not wait for it, until the addresses are looked up again."""
    impatient(monkeypatch)
    silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    asking_all = replicas(Shown("pod-0"), f"127.0.0.1:{silent.getsockname()[1]}")
    for _ in range(3):
        assert [each["state"] for each in (await asking_all.replicas())["replicas"]] == ["ok", "timeout"]
    silent.setblocking(False)
    silent.accept()[0].close()
    with pytest.raises(BlockingIOError):
        silent.accept()
    monkeypatch.setattr(replicas_module, "RESOLVED_SECONDS", 0.0)
    await asking_all.replicas()
    silent.accept()[0].close()


async def test_there_are_not_more_than_so_many(stack, monkeypatch):
    """A name with more addresses is asked as far as the bound, and says that there are more."""
    monkeypatch.setattr(replicas_module, "MOST", 1)
    addresses = sorted([await stack.enter_async_context(listening(Shown(f"pod-{number}"))) for number in (1, 2, 3)])
    found = await replicas(Shown("pod-0"), *addresses).replicas()
    assert [each["address"] for each in found["replicas"]] == ["", addresses[0], "2 more"]


async def test_a_lookup_that_takes_long_is_a_timeout(monkeypatch):
    """It does not hold up the answer."""
    monkeypatch.setattr(replicas_module, "SECONDS", 0.05)

    async def getaddrinfo(*_, **__):
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    assert rows(await replicas(Shown("pod-0"), "name").replicas()) == {"pod-0": "ok", "name:6071": "timeout"}
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


async def test_hashes_are_merged_if_they_agree(stack):
    """Without the token and IDENTITY_SECRET a key of one replica is no key of another."""
    other = Shown("pod-1", limit=limit(key(key="user=#3fa9c1d2e0")))
    address = await stack.enter_async_context(listening(other))
    own = Shown("pod-0", limit=limit(key(key="user=#3fa9c1d2e0")))

    with pytest.raises(NotTogetherError, match="IDENTITY_SECRET"):
        await replicas(own, address).all_of("limit", {"id": "0" * 16}, False)
    found = await replicas(own, address, same_hashes=True).all_of("limit", {"id": "0" * 16}, False)
    assert len(found["keys"]) == 1
    assert other.asked == [("overview", False), ("0" * 16, False)] or sorted(map(str, other.asked))
    assert {plain for _, plain in other.asked} == {False}
    await replicas(own, address).all_of("limit", {"id": "0" * 16}, True)
    assert other.asked[-1][1] is True


async def test_a_replica_alone_needs_no_token():
    """Without PEERS ``all`` is this replica, for everyone."""
    found = await replicas(Shown("pod-0", limits=limits(row())), token="").all_of("limits", {}, False)
    assert [each["id"] for each in found["limits"]] == ["a"]
    assert rows(found) == {"pod-0": "ok"}


async def test_a_limit_may_be_of_others_alone(stack):
    """A policy that is rolled out: this replica does not have the limit yet; one that none has is none."""
    address = await stack.enter_async_context(listening(Shown("pod-1", limit=limit(key()))))
    nothing = await stack.enter_async_context(listening(Shown("pod-2")))
    found = await replicas(Shown("pod-0"), address, nothing).all_of("limit", {"id": "0" * 16}, True)
    assert (len(found["keys"]), rows(found)) == (1, {"pod-0": "ok", "pod-1": "ok", "pod-2": "ok"})
    assert await replicas(Shown("pod-0"), nothing).all_of("limit", {"id": "0" * 16}, True) is None


async def test_limits_are_sorted_after_they_are_merged(stack):
    """Each replica is asked for its first rows, and not for those of the page; what comes is sorted and cut."""
    rates = {"allowed": 0.0, "denied": 3.0, "shadowed": 0.0, "failed": 0.0}
    two = {**rates, "denied": 2.0}
    other = Shown("pod-1", limits=limits(row(id="b", name="b", rates=two), row(id="a", name="a", rates=rates)))
    address = await stack.enter_async_context(listening(other))
    own = Shown("pod-0", limits=limits(row(id="b", name="b", rates=two)))
    query = {"sort": "denied", "search": "x", "offset": "1", "limit": "1"}

    found = await replicas(own, address).all_of("limits", query, True)
    assert [(each["id"], each["rates"]["denied"]) for each in found["limits"]] == [("a", 3.0)]
    (asked,) = (query for query, _ in other.asked if query != "overview")
    assert (asked.offset, asked.limit, asked.search, asked.sort) == (0, 200, "x", "denied")


async def test_a_clock_that_differs_is_told(stack):
    """A replica with another time is merged, and its row says why its history does not fit."""
    address = await stack.enter_async_context(listening(Shown("pod-1", overview=named("pod-1", time=EPOCH - 100.0))))
    own = Shown("pod-0", overview=named("pod-0", time=float(EPOCH)))
    found = await replicas(own, address).replicas()
    assert found["replicas"][1]["error"] == "its clock is 100 s behind this one's"


async def test_without_a_token_none_is_asked(stack):
    """An ADMIN_TOKEN_FILE that is gone is told of each, and the document of this replica is shown."""
    address = await stack.enter_async_context(listening(Shown("pod-1")))
    found = await replicas(Shown("pod-0"), address, token="").replicas()
    assert found["replicas"][1]["error"] == "it was not asked: there is none"


def context(files):
    return TlsFiles(
        str(files.server_certificate), str(files.server_key), str(files.authority), alpn="http/1.1"
    ).context()


def peer_tls(files, **env):
    """TLS of a replica with these files; the authority is that of its clients too."""
    names = {"CERT": files.server_certificate, "KEY": files.server_key}
    given = {f"GRPC_SERVER_TLS_{name}": str(path) for name, path in names.items()}
    known = {"GRPC_SERVER_USE_TLS": "true", **given, "GRPC_CLIENT_TLS_CACERT": str(files.authority), **env}
    return PeerTls(load(known, {}))


@pytest.fixture
def folders(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    return tmp_path / "a", tmp_path / "b"


async def test_replicas_know_one_another_by_their_certificates(stack, folders):
    """Each verifies the name of PEERS, not the address, and presents its own certificate."""
    files = tls_files(folders[0], "ratelimitd-peers")
    port = free_port()
    await stack.enter_async_context(listening(Shown("pod-1"), port=port, tls=context(files)))

    async def getaddrinfo(*_, **__):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    loop = asyncio.get_running_loop()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "getaddrinfo", getaddrinfo)
        ours = replicas(Shown("pod-0"), "Ratelimitd-Peers.", port=port, tls=peer_tls(files))
        assert rows(await ours.replicas()) == {"pod-0": "ok", "pod-1": "ok"}
        (failed,) = (await replicas(Shown("pod-0"), "another", port=port, tls=peer_tls(files)).replicas())["replicas"][
            1:
        ]
    assert failed["state"] == "failed"
    assert "Hostname mismatch" in failed["error"]


async def test_a_stranger_with_the_token_is_not_answered(stack, folders):
    """A certificate of another authority ends the handshake, on either side; so does plain text."""
    ours, others = (tls_files(folder) for folder in folders)
    address = await stack.enter_async_context(listening(Shown("pod-1"), tls=context(ours)))
    mixed = {"GRPC_SERVER_TLS_CERT": str(others.server_certificate), "GRPC_SERVER_TLS_KEY": str(others.server_key)}
    for tls in (peer_tls(others), peer_tls(ours, **mixed), None):
        found = await replicas(Shown("pod-0"), address, tls=tls).replicas()
        assert found["replicas"][1]["state"] == "failed", tls


async def test_certificates_are_read_again(stack, folders, monkeypatch):
    """A new certificate, and its authority, are used from the next question on; files that are bad change nothing."""
    monkeypatch.setattr("ratelimitd.app.peer_tls.LOOK_AGAIN", 0.0)
    files = tls_files(folders[0])
    tls = peer_tls(files)
    before = await tls.latest()
    files.server_key.write_text("no key")
    assert await tls.latest() is before
    files = tls_files(folders[0])
    address = await stack.enter_async_context(listening(Shown("pod-1"), tls=context(files)))
    assert await tls.latest() is not before
    assert rows(await replicas(Shown("pod-0"), address, tls=tls).replicas()) == {"pod-0": "ok", "pod-1": "ok"}


async def test_bad_files_at_the_start_are_told(stack, folders):
    """No replica is asked without what it would have to be verified by."""
    files = tls_files(folders[0])
    files.authority.write_text("nothing")
    address = await stack.enter_async_context(listening(Shown("pod-1")))
    found = await replicas(Shown("pod-0"), address, tls=peer_tls(files)).replicas()
    assert "it was not asked: the TLS files cannot be used" in found["replicas"][1]["error"]


async def test_the_port_asks_for_the_token_and_has_no_other_page(stack):
    """Neither the admin API nor the page, and not even an overview, without it."""
    address = await stack.enter_async_context(listening(Shown("pod-1", history=history())))
    authorized = {"Authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(f"http://{address}") as session:
        for path in ("overview", "history", "limits", "limit", "denials"):
            async with session.get(f"/live/{path}") as answer:
                assert answer.status in {401, 429}
        async with session.get("/live/overview", headers=authorized) as answer:
            assert (await answer.json())["authorized"] is True
        async with session.get("/live/overview", headers={**authorized, KEYS_HEADER: HASHED}) as answer:
            assert (await answer.json())["authorized"] is False
        async with session.post("/live/overview", headers=authorized) as answer:
            assert answer.status == 405
        for path in (
            "/",
            "/admin/",
            "/admin/key",
            "/live/",
            "/live/events",
            "/live/decisions",
            "/live/replicas",
            "/live/what-if",
            "/metrics",
        ):
            async with session.get(path, headers={**authorized, "Accept": "text/html"}) as answer:
                assert answer.status == 404, path


@pytest.mark.parametrize(
    "value", [{}, [], 1, "x", None, {"a": []}, {"a": [{}, {"b": [1]}], "c": {"d": "é"}, "e": [1, 2.5]}, {"a": [[]]}]
)
@pytest.mark.parametrize("options", [{}, {"indent": 2}, {"separators": (",", ":")}])
def test_json_is_read_in_pieces_as_in_one(value, options):
    """Each text that json writes."""
    assert decoded(json.dumps(value, **options).encode()) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{]",
        '{"a"}',
        '{"a":1,}',
        '{"a":[1,]}',
        '{"a":[1 2]}',
        '{"a":1}x',
        "{a:1}",
        '{"a":}',
        '{"a":[',
        "\xff",
        '{"a":NaN}',
        '{"a":[-Infinity]}',
    ],
)
def test_what_is_no_json_is_refused(text):
    """As json refuses it, and what is no JSON to a browser: what is merged is passed on to it."""
    with pytest.raises(ValueError, match=r"."):
        decoded(text.encode("latin-1"))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
@pytest.mark.parametrize("text", ['{{"a": {}}}', '{{"a": [{}]}}', "[{}]"])
def test_numbers_that_json_cannot_have_are_refused(text, number):
    """One would go on to the page in a merged document, which then is no JSON, so no replica would be seen."""
    with pytest.raises(ValueError, match=r"."):
        decoded(text.format(number).encode())
