"""``ratelimitd top`` in a real terminal, and its output for scripts."""

import json
import signal
import sys
from contextlib import closing

import pytest
from click.testing import CliRunner

from ratelimitd.cli import main
from ratelimitd.cli.top import SORTS
from ratelimitd.terminal import SORTS as ORDERS
from tests.terminal import documents as made
from tests.terminal.serving import Terminal, live, run

pytestmark = pytest.mark.process

LEFT = b"\x1b[?1049l"
"""What leaves the alternate screen."""


def served(**more):
    details = {row["id"]: made.detail(row) for row in made.limits()["limits"]}
    return live(
        **{
            "overview": made.overview(),
            "limits": lambda query: named(query.get("search", "")),
            "limit": lambda query: details.get(query["id"]),
            **more,
        }
    )


def named(search):
    rows = [row for row in made.limits()["limits"] if search in row["name"]]
    return {**made.limits(), "limits": rows, "total": len(rows)}


def top(service, *words, **options):
    return Terminal(
        [sys.executable, "-m", "ratelimitd", "top", "--address", service.address, "--interval", "10ms", *words],
        **options,
    )


async def test_limits_are_selected_opened_and_searched():
    """Arrow keys and Enter show the keys of a limit, Esc goes back, / searches, q leaves with 0."""
    async with served() as service:
        with closing(top(service)) as terminal:
            await terminal.shows("shop.user", "shop.path_/api", "memory ok")
            terminal.type("\x1b[B\r")
            await terminal.shows("shop.path_/api", "written in policy.yaml:12", "user=alice", "last denials")
            terminal.type("\x1b")
            await terminal.shows("shop.plan")
            terminal.type("/plan\r")
            await terminal.shows("'plan'", "shop.plan", hides=["shop.user"])
            terminal.type("q")
            assert await terminal.ended() == 0


async def test_the_order_is_asked_for():
    """s takes the next order, a letter its own, o the reverse."""
    async with served() as service:
        with closing(top(service, "--sort", "name")) as terminal:
            await terminal.shows("limit↓")
            terminal.type("u")
            await terminal.shows("use↓")
            terminal.type("o")
            await terminal.shows("use↑")
            terminal.type("dsq")
            assert await terminal.ended() == 0
    orders = [(query["sort"], query["order"]) for path, query in service.asked if path == "limits"]
    assert [orders[0], ("use", "desc") in orders, ("use", "asc") in orders] == [("name", "asc"), True, True]


async def test_the_screen_follows_the_size_of_the_terminal():
    """It has as many lines as the terminal, also after a change."""
    async with served() as service:
        with closing(top(service)) as terminal:
            await terminal.shows("q quit", "last hour")
            assert len(terminal.screen) == 24
            terminal.resize(130, 10)
            await terminal.shows("shadow/s")
            assert len(terminal.screen) == 10
            terminal.type("q")
            assert await terminal.ended() == 0


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (lambda terminal: terminal.type("q"), 0),
        (lambda terminal: terminal.type("\x03"), 0),
        (lambda terminal: terminal.process.send_signal(signal.SIGTERM), 128 + signal.SIGTERM),
        (lambda terminal: terminal.process.send_signal(signal.SIGHUP), 128 + signal.SIGHUP),
    ],
    ids=["q", "Ctrl-C", "SIGTERM", "SIGHUP"],
)
async def test_the_terminal_is_left_as_it_was_found(end, code):
    """Its settings, the screen and the cursor, whatever ends the view."""
    async with served() as service:
        with closing(top(service)) as terminal:
            await terminal.shows("shop.user")
            assert terminal.attributes != terminal.before
            end(terminal)
            assert await terminal.ended() == code
            await terminal.wrote(LEFT)
            assert terminal.written.rindex(b"\x1b[?25h") > terminal.written.rindex(b"\x1b[?25l")
            assert terminal.attributes == terminal.before


BROKEN = """
import sys
from importlib import import_module
from ratelimitd.cli import main

def broken(*_):
    raise RuntimeError("broken")

import_module("ratelimitd.terminal.top").frame = broken
main(sys.argv[1:], prog_name="ratelimitd")
"""


async def test_an_exception_leaves_the_terminal_as_it_was_found():
    """And is printed on the screen of before."""
    async with served() as service:
        command = [sys.executable, "-c", BROKEN]
        with closing(Terminal([*command, "top", "--address", service.address])) as terminal:
            assert await terminal.ended() == 1
            await terminal.wrote(b"RuntimeError: broken")
            assert terminal.written.index(LEFT) < terminal.written.index(b"RuntimeError: broken")
            assert terminal.attributes == terminal.before


async def test_a_stopped_view_gives_the_terminal_back():
    """Ctrl-Z stops it as a shell expects; when it goes on, it draws again."""
    async with served() as service:
        with closing(top(service)) as terminal:
            await terminal.shows("shop.user")
            terminal.type("\x1a")
            await terminal.stopped()
            await terminal.wrote(LEFT)
            terminal.written = b""
            terminal.process.send_signal(signal.SIGCONT)
            await terminal.shows("shop.user")
            terminal.type("q")
            assert await terminal.ended() == 0


async def test_a_service_that_is_gone_is_said_and_asked_again():
    """The last numbers stay."""
    async with served() as service:
        with closing(top(service)) as terminal:
            await terminal.shows("shop.user")
            overview = service.documents.pop("overview")
            await terminal.shows("no answer since", "shop.user")
            service.documents["overview"] = overview
            await terminal.shows("q quit")
            terminal.type("q")
            assert await terminal.ended() == 0


async def test_the_keys_of_all_limits_are_shown_with_their_limit():
    """Of limits with traffic; Tab goes to the limits."""
    async with served() as service:
        with closing(top(service, "--keys")) as terminal:
            await terminal.shows("user=alice", "user=bob", "shop.path_/api")
            terminal.type("\t")
            await terminal.shows("shop.plan")
            terminal.type("q")
            assert await terminal.ended() == 0
    asked = {query["id"] for path, query in service.asked if path == "limit"}
    assert asked == {row["id"] for row in made.limits()["limits"] if row["spark"]}


async def test_what_a_server_sends_steers_no_terminal():
    """Escape sequences in names and values are shown as escapes; markup of rich is text."""
    hostile = made.limit(made.HOSTILE)
    detail = made.detail(hostile, [made.key("user=" + made.HOSTILE)], [made.denial(made.HOSTILE)])
    async with served(limits=made.limits(hostile), limit=detail) as service:
        with closing(top(service, columns=200)) as terminal:
            await terminal.shows(r"\x1b]0;owned\x07\x1b[2J\u202eevil[red]:smile:")
            terminal.type("\r")
            await terminal.shows(r"user=\x1b]0;owned")
            terminal.type("q")
            assert await terminal.ended() == 0
            assert b"\x1b]0;" not in terminal.written
            assert b"\x1b[2J\xe2\x80\xae" not in terminal.written


async def test_without_a_terminal_top_says_what_to_write():
    """It exits with 2."""
    assert await run("top") == (
        2, "", "ratelimitd: top needs a terminal for its input and output: --once prints one table\n",
    )  # fmt: skip


async def test_once_prints_one_table():
    """Without colours and escape sequences where the output is no terminal."""
    async with served() as service:
        code, out, err = await run("top", "--once", "--address", service.address)
    assert (code, err, "\x1b" in out) == (0, "", False)
    assert [line.split()[0] for line in out.splitlines()[-4:]] == ["limit", "shop.user", "shop.path_/api", "shop.plan"]
    assert out.splitlines()[-4].split()[-2:] == ["last", "hour"]


async def test_once_as_json_has_the_documents():
    """As the service sent them, with the token of the environment."""
    async with served() as service:
        words = ("top", "--once", "--json", "--address", service.address)
        code, out, _ = await run(*words, "--all", ADMIN_TOKEN="x" * 16)
        assert json.loads(out) == {
            "version": 1, "address": service.address, "overview": made.overview(), "limits": made.limits(),
        }  # fmt: skip
        assert (code, set(service.tokens)) == (0, {f"Bearer {'x' * 16}"})
        assert all(query["all"] == "1" for _, query in service.asked)
        _, out, _ = await run(*words, "--limit", "shop.user")
        assert json.loads(out)["details"] == [made.detail()]


async def test_once_has_every_limit():
    """Also more than a service gives at once, each one time."""
    rows = [made.limit(f"shop.{number}") for number in range(250)]

    def page(query):
        start = int(query.get("offset", 0))
        return {**made.limits(), "limits": rows[max(0, start - 1) : start + 100], "total": 250}

    async with served(limits=page) as service:
        _, out, _ = await run("top", "--once", "--json", "--address", service.address)
    assert json.loads(out)["limits"]["limits"] == rows


async def test_a_limit_is_found_by_its_name_among_many_like_it():
    """However many limits have a name that contains it, and are listed before it."""
    rows = [made.limit(f"a.shop.{number}") for number in range(150)] + [made.limit("shop.")]

    def page(query):
        start = int(query.get("offset", 0))
        return {**made.limits(), "limits": rows[start : start + int(query.get("limit", 100))], "total": len(rows)}

    async with served(limits=page, limit=made.detail()) as service:
        code, _, err = await run("top", "--once", "--limit", "shop.", "--address", service.address)
        assert (code, err) == (0, "")
        assert dict(service.asked)["limit"]["id"] == rows[-1]["id"]


async def test_a_name_that_no_limit_has_is_an_error():
    """It lists names that are there."""
    async with served() as service:
        code, _, err = await run("top", "--once", "--limit", "shop.usr", "--address", service.address)
    assert (code, err) == (
        2, "ratelimitd: no limit has the name 'shop.usr'; there are: shop.user, shop.path_/api, shop.plan\n",
    )  # fmt: skip


def test_options_that_do_not_go_together_are_a_mistake():
    """Each is told what to write."""
    for words, said in (
        (["--json"], "--json belongs to --once"),
        (["--keys", "--sort", "keys"], "--sort keys is an order of limits"),
    ):
        done = CliRunner().invoke(main, ["top", *words])
        assert (done.exit_code, said in done.stderr) == (2, True)
    assert SORTS == ORDERS
