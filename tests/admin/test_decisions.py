"""The page that switches the decision log on and off."""

import json
import re

import pytest

from ratelimitd.admin import DecisionSwitch, Switched, decisions_page
from ratelimitd.admin.decisions import HOW, read_switched
from ratelimitd.admin.http import PageRequest
from ratelimitd.limiter import Selection


@pytest.mark.parametrize(
    ("query", "switched"),
    [
        ("", Switched(Selection(), 1, 100, 300.0)),
        ("domain=shop&limit=users&for=10m", Switched(Selection(b"shop", "users"), seconds=600.0)),
        ("entry=user%3Da%26b", Switched(Selection(key=b"user", value=b"a&b"))),
        ("entry=user=", Switched(Selection(key=b"user", value=b""))),
        ("entry=user", Switched(Selection(key=b"user"))),
        (r"entry=path=/a\,b", Switched(Selection(key=b"path", value=b"/a,b"))),
        ("sample=100&lines=1000", Switched(Selection(), 100, 1000)),
    ],
)
def test_a_query_says_what_to_log(query, switched):
    """Every parameter is optional; an entry is a key, or a key and a value."""
    assert read_switched(query) == switched


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("domaim=shop", f"unknown parameter 'domaim': {HOW}"),
        ("domain=a&domain=b", f"domain is given twice: {HOW}"),
        ("domain=", "domain is empty: omit it, or give it a value"),
        ("entry=a=1,b=2", r"entry is one KEY=VALUE, or KEY for any value; write \, for a comma in a value"),
        ("sample=0", "sample is a whole number from 1 to 1000000"),
        ("sample=1.5", "sample is a whole number from 1 to 1000000"),
        ("lines=1001", "lines is a whole number from 1 to 1000"),
        ("for=61m", "for is at most 1h"),
        ("for=-1s", "not a duration; write one like 150us, 5s, 1h30m, or a number of seconds"),
    ],
)
def test_a_mistake_is_refused_with_what_to_write(query, message):
    """Nothing is logged that was not asked for."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        read_switched(query)


class Switch:
    """Keeps what was switched."""

    def __init__(self):
        self.on = None
        self.page = decisions_page(DecisionSwitch(self._begin, self._end, lambda: {"on": self.on is not None}))

    def _begin(self, switched):
        self.on = switched

    def _end(self):
        self.on = None

    async def ask(self, method, query="", body=b""):
        answer = await self.page(PageRequest(method, "/admin/decisions", {}, {}, body, "127.0.0.1", query))
        return answer.status, json.loads(answer.body)


async def test_it_begins_shows_and_ends():
    """Each answer is the state after the request."""
    switch = Switch()
    assert await switch.ask("GET") == (200, {"on": False})
    assert await switch.ask("POST", "domain=shop") == (200, {"on": True})
    assert switch.on.selection == Selection(b"shop")
    assert await switch.ask("GET") == (200, {"on": True})
    assert await switch.ask("DELETE") == (200, {"on": False})


async def test_a_request_that_it_does_not_understand_switches_nothing():
    """A body, in which curl -d would put the parameters, is refused like a wrong parameter."""
    switch = Switch()
    for status, told in [await switch.ask("POST", "domains=shop"), await switch.ask("POST", "", b"domain=shop")]:
        assert (status, HOW in told["error"]) == (400, True)
    assert switch.on is None
