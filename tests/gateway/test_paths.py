"""One path for all the ways of writing it."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ratelimitd.gateway.paths import PathError, normalise, target

PIECES = ["/", "//", ".", "..", "%2e", "%2E", "a", "B", "%41", "%7e", "%c3%A9", "%25", "%32%35", "%", "%%", ";", "..;",
          "<", "|", "%3B", " ", "\\", "%2f", "%00", "~", "é", "?"]  # fmt: skip
PATHS = st.lists(st.sampled_from(PIECES), max_size=12).map(lambda pieces: ("/" + "".join(pieces)).encode())


@given(PATHS | st.binary(max_size=30).map(lambda path: b"/" + path))
def test_a_path_has_one_form_and_stays_below_the_root(path):
    """Normalising again changes nothing; no dot segment, empty segment or backslash is left."""
    try:
        once = normalise(path)
    except PathError:
        assume(False)
    assert normalise(once) == once
    assert once.startswith(b"/")
    assert b"//" not in once
    assert b"\\" not in once
    assert not {b".", b".."} & set(once.split(b"/"))


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/.hidden/...", "/.hidden/..."),
        ("/%61pi/%7e", "/api/~"),
        ("/a%C3%a9%20", "/a%C3%a9%20"),
        ('/"<>^`{|}', "/%22%3C%3E%5E%60%7B%7C%7D"),
        ("/a/%2e%2E/b", "/b"),
        ("/a//../b", "/a/b"),
        ("/a/..", "/"),
        ("/a/b/.", "/a/b/"),
        ("/..", "/"),
        ("//a///b//", "/a/b/"),
        ("//", "/"),
        ("/a;x=1/b", "/a;x=1/b"),
    ],
)
def test_a_path_is_written_its_one_way(path, normal):
    """Unreserved characters bare, others escaped, dot segments and empty ones gone, escapes as they were."""
    assert normalise(path.encode()) == normal.encode()


@pytest.mark.parametrize(
    "path",
    ["", "*", "a/b", "/a%2fb", "/a%2Fb", "/a%5cb", "/a\\b", "/a%00", "/a%", "/a%4", "/a%zz", "/a b", "/a#b", "/\x7f",
     "/é", "/a/..;/b", "/a/%2e;x", "/\n"],
)  # fmt: skip
def test_what_two_readers_could_take_differently_is_refused(path):
    """Escaped slashes and backslashes, half escapes, raw characters, dot segments with parameters."""
    with pytest.raises(PathError):
        normalise(path.encode())


def test_a_query_is_left_as_it_is():
    """It is no path; only what no URL may hold is refused."""
    assert target(b"/a/../b", b"x=/../%2f").full == b"/b?x=/../%2f"
    assert target(b"/a", b"").full == b"/a?"
    assert target(b"/a").full == b"/a"
    for query in (b"#", b"\xff", b" ", b"\x00"):
        with pytest.raises(PathError):
            target(b"/a", query)
