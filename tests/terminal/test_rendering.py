"""From documents to text: every page at every size, whatever the documents hold."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from ratelimitd.terminal.amounts import bar, clock, count, size, span, sparkline
from ratelimitd.terminal.decision import decision_line, skipped_line
from ratelimitd.terminal.frame import frame, once
from ratelimitd.terminal.pages import Data
from ratelimitd.terminal.tables import key_rows
from ratelimitd.terminal.view import KEY_SORTS, SORTS, View
from tests.terminal import documents as made

VIEWS = [View(), View(page="keys"), View(page="limit", opened="x"), View(typed="sho"), View(search="none")]


def drawn(data, view, width=80, height=24):
    file = io.StringIO()
    shown, _ = frame(data, view, width, height)
    Console(file=file, width=width).print(shown)
    return file.getvalue().split("\n")[:-1]


def full(**more):
    rows = [made.limit(f"shop.limit_{number}") for number in range(100)]
    keys = [made.key(f"user={number}") for number in range(128)]
    return Data(
        "localhost:6070", made.overview(**more), {**made.limits(*rows), "total": 1000},
        [made.detail(keys=keys, denials=[made.denial()] * 100)],
    )  # fmt: skip


FAULTS = {
    "policy": {**made.overview()["policy"], "refused": ["policy.yaml:12: unknown key", *["x"] * 10]},
    "health": {"failing": [{"component": "redis", "reason": "refused"}], "notes": []},
    "keys": "hashed",
    "replicas": [{"name": "b", "state": "timeout", "error": ""}],
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("more", [{}, FAULTS])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 60), (120, 20)])
def test_a_frame_is_as_large_as_the_terminal(view, more, width, height):
    """Never a line or a column more, with as many limits, keys and faults as there may be."""
    for data in (full(**more), Data("localhost:6070")):
        lines = drawn(data, view, width, height)
        assert (len(lines), max(map(len, lines)) <= width) == (height, True)


def test_80_columns_hold_what_an_operator_asks():
    """Which limit denies, how full it is, what is configured, its hour."""
    lines = drawn(Data("localhost:6070", made.overview(), made.limits()), View())
    assert lines[:8] == [
        "ratelimit-0 · ratelimitd 0.9.0 · up 2 h 13 min · localhost:6070 · " + clock(1_800_000_000),
        "hits/s  allowed 1.23k  denied 12.5   requests/s  1.2k OK  12.5 over limit",
        "store  memory ok, 120 keys, 1 MiB of 64 MiB",
        "policy policy.yaml 0123456789ab, 3 limits in 1 domain, loaded " + clock(1_799_992_000),
        "",
        "limit               configured         allow/s deny/s↓ use          last hour   ",
        "shop.user           100 per minute           3     1.5 ██████░  83% ▃▃▃▃▃▃▃▃▃▃▃█",
        "shop.path_/api      100 per minute          20       · █░░░░░░  20% ▃▃▃▃▃▃▃▃▃▃▃█",
    ]


def test_faults_are_above_the_table():
    """A refused policy with its line, what fails, a replica that is silent; some of many."""
    text = "\n".join(drawn(full(**FAULTS), View()))
    assert "refused: policy.yaml:12: unknown key\nrefused: x\nand 11 more faults\n" in text
    few = {**FAULTS, "policy": {**FAULTS["policy"], "refused": []}}
    text = "\n".join(drawn(full(**few), View()))
    assert "failing: redis: refused\nno numbers of replica b: timeout\n" in text


def test_the_selected_limit_is_in_sight():
    """Wherever it is in the list."""
    data = full()
    for row in data.limits["limits"]:
        assert any(row["name"] in line for line in drawn(data, View(selected=row["id"])))


@pytest.mark.parametrize("view", VIEWS)
@given(data=st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from([
            "limits", "limit", "keys", "denials", "rates", "allowed", "denied", "minute", "hits", "name", "use",
            "spark",
            "store", "policy", "health", "failing", "replicas", "where", "line", "history", "time", "total", "refused",
        ]), inner, max_size=8,
    ), max_leaves=20,
))  # fmt: skip
def test_no_document_ends_the_view(view, data):
    """Whatever a server sends as one."""
    document = data if isinstance(data, dict) else {"limits": data}
    for lines in (
        drawn(Data("", document, document, [document]), view),
        [str(decision_line(document)), str(skipped_line(document))],
    ):
        assert all(line.isprintable() for line in lines)


def test_once_has_every_row():
    """And nothing marked as selected."""
    file = io.StringIO()
    Console(file=file, width=160, force_terminal=True, no_color=True).print(once(full(), View(), 160))
    assert (file.getvalue().count("shop.limit_"), "\x1b[7m" in file.getvalue()) == (100, False)


def test_keys_have_each_order():
    """The most first, names from A on; the reverse when asked for."""
    a = made.key("a", 10, 9, used=1, remaining=9)
    b = made.key("b", 20, 1, used=9, remaining=1)
    c = made.key("c", 5, 0, used=None, remaining=None)
    orders = {
        sort: "".join(row["key"] for row in key_rows([made.detail(keys=[a, b, c])], sort, ascending=False))
        for sort in KEY_SORTS
    }
    assert orders == {"denied": "abc", "allowed": "bca", "rate": "bac", "use": "bac", "name": "abc"}
    assert [row["key"] for row in key_rows([made.detail(keys=[a, b])], "name", ascending=True)] == ["b", "a"]
    assert [row["key"] for row in key_rows([made.detail(keys=[a, b])], "rate", ascending=True, search="b")] == ["b"]
    assert set(KEY_SORTS) < set(SORTS)


def test_amounts_are_short():
    """Numbers, bytes, spans and times."""
    assert [count(each) for each in (None, 0, 0.001, 0.25, 7, 999.6, 1234, 999_999, 5e6, 1e300)] == [
        "·", "·", "<0.01", "0.25", "7", "1k", "1.23k", "1M", "5M", "999T",
    ]  # fmt: skip
    assert [size(each) for each in (None, 512, 1536, 64 << 20)] == ["0 B", "512 B", "1.5 KiB", "64 MiB"]
    assert [span(each) for each in (None, -1, 0.4, 125, 3600, 187_200)] == [
        "·",
        "0 s",
        "0 s",
        "2 min 5 s",
        "1 h",
        "2 d 4 h",
    ]
    assert [clock(None), clock(1e300)] == ["--:--:--"] * 2


def test_bars_and_lines_say_what_is_denied():
    """A full bar is red; so is a column with denials, and an empty one is blank."""
    assert [str(bar(each, 10)) for each in (None, 0.001, 0.5, 2.0)] == [
        "         ·", "█░░░░   0%", "██░░░  50%", "█████ 100%",
    ]  # fmt: skip
    line = sparkline([0, 1, 2, 4], [0, 0, 0, 4], 4)
    assert (str(line), [span.style for span in line.spans]) == (" ▂▃█", ["green", "green", "red"])
    assert [str(sparkline([], [], 4)), str(sparkline([1, 1, 4, 8], [0] * 4, 2))] == ["", "▂█"]
