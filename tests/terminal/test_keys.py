"""What is typed, and what it does to a view."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimitd.terminal.keys import Typed
from ratelimitd.terminal.view import SEARCH_MOST, SORTS, Shown, View, pressed

SHOWN = Shown(["a", "b", "c"], 3, 2)


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"\x1b[A\x1bOBq", ["up", "down", "q"]),
        (b"\x1b[5~\x1b[6~\x1b[H\x1b[4~", ["page_up", "page_down", "home", "end"]),
        ("é漢\r\x7f\x03".encode(), ["é", "漢", "enter", "backspace", "quit"]),
        (b"\x1b[1;5C\x1b[200~x\x1ba", ["x"]),
        (b"\x1b\x1b[A", ["escape", "up"]),
        (b"\xff\x00q\xe9w\r", ["q", "w", "enter"]),
    ],
)
def test_bytes_are_keys_however_they_arrive(data, keys):
    """At once or one by one; sequences of other keys are none."""
    typed = Typed()
    assert typed.feed(data) == keys
    assert [key for byte in data for key in typed.feed(bytes([byte]))] == keys
    assert typed.flush() == []


def test_an_escape_alone_is_esc():
    """When nothing has followed for a while."""
    typed = Typed()
    assert (typed.feed(b"\x1b"), typed.waiting, typed.flush(), typed.waiting) == ([], True, ["escape"], False)
    assert (typed.feed(b"\x1b["), typed.flush(), typed.feed(b"q")) == ([], [], ["q"])


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_anything_may_be_typed(pieces):
    """No bytes are an error, and what waits for its end is bounded."""
    typed, view = Typed(), View()
    for piece in pieces:
        for key in typed.feed(piece):
            view = pressed(view, key, SHOWN)
        assert len(typed._rest) < 40 + 32
    assert len(view.typed or "") <= SEARCH_MOST
    assert view.offset >= 0


def after(*keys, view=None, shown=SHOWN):
    view = view or View()
    for key in keys:
        view = pressed(view, key, shown)
    return view


def test_arrows_move_within_the_rows():
    """From the first that is shown to the last."""
    assert [after(*keys).selected for keys in (["up"], ["down"], ["end", "down"], ["page_down"], ["end", "home"])] == [
        "a", "b", "c", "c", "a",
    ]  # fmt: skip
    assert after("down", "enter", shown=Shown()) == View()
    keys = View(page="keys")
    assert [after(*each, view=keys).offset for each in (["down"], ["end", "down"], ["down", "up", "up"])] == [1, 1, 0]


def test_enter_opens_and_esc_returns():
    """From a limit to the table with the limit selected; Esc there ends a search."""
    opened = after("down", "enter")
    assert (opened.page, opened.opened) == ("limit", "b")
    assert (after("escape", view=opened).page, after("escape", view=opened).selected) == ("limits", "b")
    assert after("escape", view=View(search="x")) == View()
    assert after("escape", view=View(page="keys")).page == "limits"
    assert after("tab").page == "keys"
    assert after("tab", view=View(sort="keys")).sort == "denied"


def test_a_search_is_typed():
    """With a backspace; Enter applies it, Esc leaves what was."""
    assert after("/", "a", "q", "backspace", "b", "enter").search == "ab"
    assert after("/", "a", "clear", "enter").search == ""
    assert after("/", "b", "escape", view=View(search="a")) == View(search="a")
    assert after("/", "up", "q").typed == "q"


def test_orders_follow_keys():
    """s through all of them, a letter to its own, and back to front a second time; names begin with A."""
    seen = [after(*"s" * times).sort for times in range(len(SORTS) + 1)]
    assert seen == [*SORTS, SORTS[0]]
    views = (after(*keys) for keys in ("d", "u", "uu", "n", "no"))
    assert [(view.sort, view.order) for view in views] == [
        ("denied", "asc"), ("use", "desc"), ("use", "asc"), ("name", "asc"), ("name", "desc"),
    ]  # fmt: skip
    assert after("c", view=View(page="keys")).sort == "denied"


def test_the_view_is_left():
    """By q and by Ctrl-C."""
    assert (after("q").quit, after("quit").quit, after("x").quit) == (True, True, False)
