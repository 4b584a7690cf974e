"""``?all=1``: which queries are merged, and what a caller is told if they cannot be."""

import json

import pytest

from ratelimitd.admin import Hub, LiveAccess, NotTogetherError, PageRequest, TokenGuard, Topics, live_pages
from ratelimitd.admin.server import respond
from ratelimitd.admin.wire import HeaderValues
from tests.admin.viewing import ID, Alone, View

TOKEN = "0123456789abcdef"


async def ask(together, path, query, *, token=False):
    table = live_pages(View(), LiveAccess(TokenGuard(TOKEN.encode, lambda: 0)), Hub(Topics(View()).render), together)
    headers = [(b"host", b"localhost"), *([(b"authorization", f"Bearer {TOKEN}".encode())] if token else [])]
    request = PageRequest("GET", f"/live/{path}", {}, HeaderValues(headers), b"", "127.0.0.1", query)
    answer = await respond(table, request)
    body = answer.body if isinstance(answer.body, bytes) else b"".join([piece async for piece in answer.body])
    return answer.status, json.loads(body)


@pytest.mark.parametrize(
    ("path", "query", "asked"),
    [
        ("overview", "all=1", {}),
        ("history", "all=1", {}),
        ("limits", "sort=use&all=1&limit=150&offset=50", {"sort": "use", "limit": "150", "offset": "50"}),
        ("limit", f"id={ID}&all=1", {"id": ID}),
        ("denials", "all=1&limit=7", {"limit": "7"}),
    ],
)
@pytest.mark.parametrize("token", [False, True])
async def test_all_asks_all(path, query, asked, token):
    """With the query of the page, and with what the caller may see."""
    together = Alone()
    assert await ask(together, path, query, token=token) == (200, together.found)
    assert together.asked == [(path, asked, token)]


@pytest.mark.parametrize(
    ("path", "query", "error"),
    [
        ("overview", "all=0", "all is 1, once"),
        ("overview", "all=1&all=1", "all is 1, once"),
        ("overview", "all=1&x=1", "unknown parameter 'x'"),
        ("limit", "all=1", "id is missing"),
        ("limits", "all=1&sort=x", "sort is one of"),
        ("limits", "all=1&limit=100&offset=101", "the first 200 limits are merged"),
        ("events", "all=1", "unknown parameter 'all'"),
        ("replicas", "all=1", "unknown parameter 'all'"),
    ],
)
async def test_mistakes_are_told(path, query, error):
    """With what to write; no replica is asked."""
    together = Alone()
    status, answer = await ask(together, path, query)
    assert (status, together.asked) == (400, [])
    assert error in answer["error"]


async def test_a_replay_of_all_has_the_hits_of_all():
    """Where they fill one counter; without ``all`` it has those of this replica."""
    together = Alone()
    together.found = {"counters": "shared", "limit": {"id": ID}}
    status, answer = await ask(together, "what-if", f"id={ID}&all=1&unit=hour", token=True)
    assert (status, answer["of_all"], answer["changed"]) == (200, together.found, {"unit": "hour"})
    assert together.asked == [("limit", {"id": ID}, True)]
    assert (await ask(together, "what-if", f"id={ID}"))[1]["of_all"] is None


async def test_counters_of_each_replica_are_not_replayed_as_one():
    """In memory each has the whole limit; what cannot be merged, and what none has, is told as of other pages."""
    together = Alone()
    together.found = {"counters": "each", "limit": {"id": ID}}
    status, answer = await ask(together, "what-if", f"id={ID}&all=1")
    assert (status, "replay the hits of one replica" in answer["error"]) == (400, True)
    together.found = None
    assert (await ask(together, "what-if", f"id={ID}&all=1"))[0] == 404
    assert (await ask(together, "what-if", f"id={ID}&all=2"))[0] == 400
    together.error = NotTogetherError("send it")
    assert await ask(together, "what-if", f"id={ID}&all=1") == (403, {"error": "send it"})


async def test_who_may_not_merge_is_told_why():
    """403, and what to send or to set."""
    together = Alone()
    together.error = NotTogetherError("send it")
    assert await ask(together, "limits", "all=1") == (403, {"error": "send it"})


async def test_a_limit_that_no_replica_has_is_unknown():
    """404, as of one replica."""
    together = Alone()
    together.found = None
    status, answer = await ask(together, "limit", f"all=1&id={ID}")
    assert status == 404
    assert ID in answer["error"]


async def test_replicas_are_told_to_everyone():
    """Which there are is no secret on this host; no caller's name is in it."""
    assert await ask(Alone(), "replicas", "") == (200, {"version": 1, "configured": False, "replicas": []})
