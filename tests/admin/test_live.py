"""The pages of the live view: who sees what, and what a mistake is answered with."""

import asyncio
import json

import pytest

from ratelimitd.admin import Hub, LiveAccess, TokenGuard, Topics, live_off, live_pages
from ratelimitd.admin.http import PageRequest
from ratelimitd.admin.live import HELP, encoded
from ratelimitd.admin.live_query import LINES_MOST, Watched, decisions_query, denials_query, limits_query
from ratelimitd.admin.server import respond
from ratelimitd.limiter import Selection
from ratelimitd.live import LimitsQuery
from tests.admin.viewing import ID, Alone, View

TOKEN = "0123456789abcdef"
WELL = {"Authorization": f"Bearer {TOKEN}"}
OF_ONE = ("/live/limit", "/live/what-if")
PAGES = [*sorted({*HELP} - {*OF_ONE}), *(f"{path}?id={ID}" for path in OF_ONE)]


@pytest.fixture
def view():
    return View()


def table_of(view, token=TOKEN, **options):
    guard = TokenGuard(token.encode, lambda: 0, **options) if token else None
    return live_pages(view, LiveAccess(guard), Hub(Topics(view).render), Alone())


async def ask(table, target, method="GET", peer="127.0.0.1", **headers):
    path, _, query = target.partition("?")
    named = {name.lower().replace("_", "-"): value for name, value in headers.items()}
    request = PageRequest(method, path, {}, Headers({"host": "localhost:6070", **named}), b"", peer, query)
    return await respond(table, request)


class Headers(dict):
    def __contains__(self, name):
        return super().__contains__(name.lower())

    def get(self, name, default=None):
        return super().get(name.lower(), default)


async def body(response):
    if isinstance(response.body, bytes):
        return json.loads(response.body)
    return json.loads(b"".join([piece async for piece in response.body]))


async def closed(response):
    """The status of a response, whose body is not read."""
    if not isinstance(response.body, bytes):
        await response.body.aclose()
    return response.status


async def test_without_the_token_keys_are_hashed_and_with_it_they_are_shown(view):
    """The token is optional: no Authorization is no mistake."""
    table = table_of(view)
    assert (await body(await ask(table, "/live/overview")))["keys"] == "hashed"
    assert (await body(await ask(table, "/live/overview", **WELL)))["keys"] == "shown"


@pytest.mark.parametrize("target", PAGES)
async def test_a_wrong_token_is_refused_and_counted_as_by_the_admin_api(view, target):
    """401, and 429 after ten: also where the page would be shown without one."""
    table = table_of(view)
    statuses = [(await ask(table, target, Authorization="Bearer wrong")).status for _ in range(11)]
    assert statuses == [401] * 10 + [429]
    assert await closed(await ask(table, target, **WELL)) == 200


@pytest.mark.parametrize("target", PAGES)
async def test_a_token_from_another_host_is_refused(view, target):
    """403 with the right one too, unless ADMIN_REMOTE; without a token the page is read as /rlconfig is."""
    assert (await ask(table_of(view), target, peer="10.0.0.7", **WELL)).status == 403
    assert await closed(await ask(table_of(view, remote=True), target, peer="10.0.0.7", **WELL)) == 200
    assert await closed(await ask(table_of(view), target, peer="10.0.0.7")) == 200


async def test_a_token_where_none_is_set_is_wrong(view):
    """The answer says what to set."""
    response = await ask(table_of(view, token=""), "/live/overview", **WELL)
    assert response.status == 401
    assert "ADMIN_TOKEN_FILE" in (await body(response))["error"]


@pytest.mark.parametrize("target", PAGES)
async def test_no_page_is_for_a_page_of_another_site(view, target):
    """Host rebinding gives 421; a cross-site request 403, since readers have places and cost; no CORS header ever."""
    table = table_of(view)
    assert (await ask(table, target, Host="evil.example:6070")).status == 421
    for headers in (
        {"Origin": "http://evil.example"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ):
        assert (await ask(table, target, **headers)).status == 403
    response = await ask(table, target, Origin="http://localhost:6070", Sec_Fetch_Site="same-origin")
    assert await closed(response) == 200
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"
    assert not [name for name in response.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("target", PAGES)
async def test_pages_are_read_only(view, target):
    """405 with what is allowed; HEAD is GET."""
    table = table_of(view)
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        response = await ask(table, target, method)
        assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")
    assert await closed(await ask(table, target, "HEAD")) == 200


async def test_the_list_has_each_page(view):
    """With its help."""
    assert await body(await ask(table_of(view), "/live/")) == HELP


async def test_off_each_page_says_what_to_set():
    """404, as there is nothing."""
    for path in HELP:
        response = await ask(live_off(), path)
        assert response.status == 404
        assert "set LIVE_MAX_BYTES" in (await body(response))["error"]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("/live/overview?a=1", "unknown parameter 'a': write /live/overview, without a parameter"),
        ("/live/history?a=1", "unknown parameter 'a': write /live/history"),
        ("/live/?a=1", "unknown parameter 'a': write /live/"),
        ("/live/limits?serach=x", "unknown parameter 'serach': write /live/limits?search=TEXT&sort=denied"),
        ("/live/limits?sort=size", "sort is one of denied, allowed, rate, use, keys, name: write /live/limits?"),
        ("/live/limits?order=up", "order is one of desc, asc"),
        ("/live/limits?limit=0", "limit is a whole number from 1 to 200"),
        ("/live/limits?limit=201", "limit is a whole number from 1 to 200"),
        ("/live/limits?limit=%C2%B2", "limit is a whole number from 1 to 200"),
        ("/live/limits?offset=-1", "offset is a whole number from 0 to 1000000"),
        ("/live/limits?offset=" + "9" * 5_000, "offset is a whole number from 0 to 1000000"),
        ("/live/limits?search=" + "x" * 201, "search has more than 200 characters"),
        ("/live/limits?sort=name&sort=name", "sort is given twice"),
        ("/live/limit", "id is missing: write /live/limit?id=ID, with an id of /live/limits"),
        ("/live/limit?id=1", "id is 16 hex digits in lower case"),
        (f"/live/limit?id={ID.upper()}", "id is 16 hex digits in lower case"),
        ("/live/denials?limit=501", "limit is a whole number from 1 to 500"),
        ("/live/events?id=", "id is 16 hex digits in lower case"),
        ("/live/decisions?domain=", "domain is empty"),
        ("/live/decisions?entry==x", "entry without a key"),
        ("/live/decisions?entry=a=b,c=d", "entry is one KEY=VALUE"),
        ("/live/decisions?denied=yes", "denied is one of 0, 1"),
        ("/live/decisions?lines=101", "lines is a whole number from 1 to 100"),
        ("/live/decisions?entry=user=alice", "values are shown only with the token"),
        ("/live/decisions?%ff=1", "unknown parameter '\\udcff'"),
    ],
)
async def test_a_mistake_in_a_query_says_what_to_write(view, target, said):
    """400, with the parameter and the whole form."""
    response = await ask(table_of(view), target)
    assert response.status == 400
    assert said in (await body(response))["error"]


@pytest.mark.parametrize("page", ["limit", "denials", "events"])
async def test_an_unknown_id_is_404(view, page):
    """And says where ids are."""
    response = await ask(table_of(view), f"/live/{page}?id={ID[::-1]}")
    assert response.status == 404
    assert "/live/limits lists them" in (await body(response))["error"]


@pytest.mark.parametrize(
    ("raw", "query"),
    [
        ("", LimitsQuery("", "denied", True, 100, 0)),
        ("sort=name", LimitsQuery("", "name", False, 100, 0)),
        ("sort=name&order=desc", LimitsQuery("", "name", True, 100, 0)),
        ("search=a+%C3%A9&sort=use&order=asc&limit=7&offset=14", LimitsQuery("a é", "use", False, 7, 14)),
    ],
)
def test_a_query_of_limits(raw, query):
    """Numbers begin with the largest, names with the first."""
    assert limits_query(raw) == query


def test_a_query_of_denials():
    """Of all limits unless one is named."""
    assert denials_query("") == ("", 100)
    assert denials_query(f"id={ID}&limit=5") == (ID, 5)


def test_a_query_of_decisions():
    """A value only with the token, as are more than a hundred a second."""
    assert decisions_query("", plain=False) == Watched()
    assert decisions_query("entry=user", plain=False) == Watched(Selection(key=b"user"))
    raw = "domain=d&limit=d.user&entry=user%3Da%3D%5C,&denied=1&lines=1000"
    expected = Watched(Selection(b"d", "d.user", b"user", b"a=,"), denied=True, lines=LINES_MOST)
    assert decisions_query(raw, plain=True) == expected


@pytest.mark.parametrize("rows", [0, 1, 25, 26, 200])
async def test_a_document_is_whole_in_any_size(view, rows):
    """Small ones at once, large ones in pieces, in one line."""
    view.rows = rows
    response = await ask(table_of(view), "/live/limits")
    found = await body(response)
    assert (found["version"], found["total"], len(found["limits"])) == (1, rows, rows)
    assert found["limits"] == [{"id": "é" * n} for n in range(rows)]
    assert response.content_type == "application/json"


async def test_a_document_is_what_json_makes_of_it():
    """Whatever is in it; a quote or a script in a name stays in its string."""
    rows = [{"key": '</script>"\\\n\u2028', "n": None}] * 60
    found = {"version": 1, "a": [1, 2], "rows": rows, "none": None, "empty": [], 'odd"': {"x": rows}}
    assert json.loads(await encoded(found)) == found
    assert b"\n" not in (await encoded(found))[:-1]


async def test_one_replay_at_a_time(view):
    """Another is asked to come later; when it has ended, or its client has left, one begins."""
    table = table_of(view)
    first = await ask(table, f"/live/what-if?id={ID}&requests_per_unit=5")
    going = asyncio.create_task(anext(first.body))
    await asyncio.sleep(0)
    busy = await ask(table, f"/live/what-if?id={ID}")
    assert (busy.status, busy.headers["Retry-After"]) == (503, "1")
    assert json.loads(await going)["changed"] == {"requests_per_unit": "5"}
    await first.body.aclose()

    second = await ask(table, f"/live/what-if?id={ID}")
    going = asyncio.create_task(anext(second.body))
    await asyncio.sleep(0)
    replayed = view.replayed
    going.cancel()
    await asyncio.gather(going, return_exceptions=True)
    del second
    assert (view.replayed, view.replays_ended) == (replayed, 2)
    assert (await body(await ask(table, f"/live/what-if?id={ID}")))["version"] == 1


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("", 400, "id is missing"),
        (f"?id={ID}&burst=0", 400, "a burst of 0 is out of range"),
        (f"?id={ID}&bursts=0", 400, "unknown parameter 'bursts': write /live/what-if?id=ID"),
        ("?id=aaaaaaaaaaaaaaaa", 404, "no limit has the id aaaaaaaaaaaaaaaa"),
    ],
)
async def test_a_wrong_what_if_is_refused(view, query, status, words):
    """Before anything of the response is sent."""
    response = await ask(table_of(view), f"/live/what-if{query}")
    assert response.status == status
    assert words in (await body(response))["error"]
