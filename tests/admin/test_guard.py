"""Who gets into the admin API, and what those are told who do not."""

import json

import pytest
from structlog.testing import capture_logs

from ratelimitd.admin.guard import TokenError, TokenFile, TokenGuard, guarded, loopback
from ratelimitd.admin.http import UNSTORED, PageRequest, PageResponse

TOKEN = "0123456789abcdef"
SECOND = 1_000_000


class Clock:
    def __init__(self):
        self.now = 1_000 * SECOND

    def __call__(self):
        return self.now


def guard_of(token=TOKEN.encode, clock=None, **options):
    return TokenGuard(token, clock or Clock(), **options)


def asking(authorization=f"Bearer {TOKEN}", peer="127.0.0.1", method="GET"):
    headers = {} if authorization is None else {"Authorization": authorization}
    return PageRequest(method, "/admin/key", {}, headers, b"", peer)


def status(guard, *args, **named):
    refusal = guard.refusal(asking(*args, **named))
    return 200 if refusal is None else refusal.status


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_right_token_opens(scheme):
    """As RFC 6750 sends it, the scheme in any case."""
    assert status(guard_of(), f"{scheme} {TOKEN}") == 200


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        TOKEN,
        f"Basic {TOKEN}",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}0",
        f"Bearer {TOKEN.upper()}",
        f"Bearer {TOKEN} {TOKEN}",
        f"Bearer {TOKEN[:-1]}é",
        f"Bearer {TOKEN}\udcff",
        f"Bearer {TOKEN}\0",
        "Bearer " + "x" * 8_000,
    ],
)
def test_any_other_is_told_how_to_come(authorization):
    """401 with WWW-Authenticate, whether the token is absent, near, long or no text at all."""
    refusal = guard_of().refusal(asking(authorization))
    assert refusal is not None
    assert refusal.status == 401
    assert refusal.headers == {"WWW-Authenticate": 'Bearer realm="admin"', **UNSTORED}
    assert "Authorization: Bearer" in json.loads(refusal.body)["error"]


@pytest.mark.parametrize(
    ("peer", "near"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::1%lo", True),
        ("10.0.0.7", False),
        ("::ffff:10.0.0.7", False),
        ("2001:db8::1", False),
        ("0.0.0.0", False),
        ("", False),
        ("localhost", False),
    ],
)
def test_only_this_host_may_come_unless_told_otherwise(peer, near):
    """403 for every caller elsewhere, the right token or not; ADMIN_REMOTE lets them come, and asks for the token."""
    assert loopback(peer) is near
    assert status(guard_of(), peer=peer) == (200 if near else 403)
    assert status(guard_of(), None, peer=peer) == (401 if near else 403)
    assert status(guard_of(remote=True), peer=peer) == 200
    assert status(guard_of(remote=True), None, peer=peer) == 401


def test_who_may_not_come_learns_nothing_and_uses_nothing_up():
    """A caller elsewhere does not make those on this host wait."""
    guard = guard_of()
    assert {status(guard, "Bearer wrong", peer="10.0.0.7") for _ in range(100)} == {403}
    assert status(guard, "Bearer wrong") == 401


def test_wrong_tokens_are_limited_and_the_right_one_is_not():
    """Ten at once, then one in 6 s, 429 with Retry-After for the rest; the operator is never locked out."""
    clock = Clock()
    guard = guard_of(clock=clock)
    assert [status(guard, "Bearer wrong") for _ in range(10)] == [401] * 10
    refusal = guard.refusal(asking("Bearer wrong"))
    assert refusal is not None
    assert (refusal.status, refusal.headers["Retry-After"]) == (429, "6")
    assert status(guard, None) == 429
    assert status(guard) == 200
    clock.now += 6 * SECOND
    assert [status(guard, "Bearer wrong") for _ in range(2)] == [401, 429]


@pytest.mark.scenario("logs that fill up or contain secrets")
def test_a_flood_of_wrong_tokens_fills_no_log_and_shows_no_token():
    """As many lines as 401s, each with the caller and none with what he sent."""
    guard = guard_of()
    with capture_logs() as logs:
        for _ in range(1_000):
            guard.refusal(asking("Bearer guessed-this-secret"))
    assert len(logs) == 10
    assert {entry["peer"] for entry in logs} == {"127.0.0.1"}
    assert "guessed" not in str(logs)


async def test_methods_that_are_none_are_405_behind_the_guard():
    """With Allow for who may come; HEAD is answered as GET; who may not come is not told which there are."""

    async def handler(_):
        return PageResponse(200, b"got")

    answering = guarded(guard_of(), {"GET": handler, "DELETE": handler})
    for method in ("GET", "HEAD", "DELETE"):
        assert (await answering(asking(method=method))).body == b"got"
    refused = await answering(asking(method="PUT"))
    assert (refused.status, refused.headers["Allow"]) == (405, "DELETE, GET, HEAD")
    assert (await answering(asking(None, method="PUT"))).status == 401


def written(path, text):
    """As Kubernetes does it: another file in the place of the old one."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)


def test_a_rotated_token_is_the_one_that_opens(tmp_path):
    """From the next request on, without a restart; the old one is wrong then. Logs are told to hide both."""
    path, hidden = tmp_path / "token", []
    written(path, f"{TOKEN}\n")
    guard = guard_of(TokenFile(str(path), hidden.append))
    assert status(guard) == 200
    written(path, "another-token-of-ours")
    assert status(guard) == 401
    assert status(guard, "Bearer another-token-of-ours") == 200
    assert hidden == [TOKEN, "another-token-of-ours"]


def test_a_tokens_file_is_not_read_again_while_it_is_the_same(tmp_path):
    """Asking again and again costs a look at the file's times."""
    path, read = tmp_path / "token", []
    written(path, TOKEN)
    token = TokenFile(str(path), read.append)
    assert {token() for _ in range(100)} == {TOKEN.encode()}
    assert len(read) == 1


@pytest.mark.parametrize("spoilt", ["", "   \n", "tiny-secret", "sixteen or more, with blanks", None])
def test_without_a_token_in_its_file_nobody_gets_in(tmp_path, spoilt):
    """503, the old token too, logged once; and the API is back when a token is. Neither shows what is in the file."""
    path = tmp_path / "token"
    written(path, TOKEN)
    guard = guard_of(TokenFile(str(path), lambda _: None))
    assert status(guard) == 200
    path.unlink() if spoilt is None else written(path, spoilt)
    with capture_logs() as logs:
        assert [status(guard, authorization) for authorization in (f"Bearer {TOKEN}", "Bearer ", None)] == [503] * 3
    assert [entry["event"] for entry in logs] == ["the admin token cannot be used; every admin request is rejected"]
    assert str(path) in logs[0]["reason"]
    assert not spoilt or not spoilt.strip() or spoilt not in str(logs)
    written(path, TOKEN)
    assert status(guard) == 200


def test_what_is_no_plain_file_is_no_token(tmp_path):
    """A folder or a pipe is told as such; a pipe would keep the service waiting for ever."""
    import os

    os.mkfifo(tmp_path / "pipe")
    for path, why in [(tmp_path / "pipe", "not a regular file"), (tmp_path, "directory"), (tmp_path / "no", "No such")]:
        with pytest.raises(TokenError, match=f"{path}: .*{why}"):
            TokenFile(str(path), lambda _: None)()


def test_a_huge_file_is_no_token(tmp_path):
    """No more than a header can hold is read."""
    (tmp_path / "big").write_text("x" * 5_000)
    with pytest.raises(TokenError, match="longer than 4096 bytes"):
        TokenFile(str(tmp_path / "big"), lambda _: None)()
