"""One path for all the ways of writing it."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ratelimitd.gateway.paths import PathError, normalise, resolved, target

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


@given(
    st.lists(st.sampled_from([*PIECES, "%2F"]), max_size=12).map(lambda pieces: ("/" + "".join(pieces)).encode()),
)
def test_a_kept_slash_hides_no_dot_segment(path):
    """A program that decodes it finds no dot segment either; without one, the path is what it always was."""
    try:
        kept = normalise(path, encoded_slash=True)
    except PathError:
        assume(False)
    assert normalise(kept, encoded_slash=True) == kept
    pieces = re.split(rb"(?i)/|%2f", kept)
    assert not {b".", b".."} & {piece.partition(b";")[0] for piece in pieces if b";" in piece or piece in (b".", b"..")}
    if b"%2f" not in path.lower():
        assert kept == normalise(path)


@pytest.mark.parametrize("path", ["/a%2Fb", "/a%2fb/", "/%2F", "/a%2F%2fb", "/.a%2F...%2Fb.", "/a%2F.b/..c%2F"])
def test_a_kept_slash_stays_as_it_is_written(path):
    """Its case too, as Envoy keeps it, at either end of a segment and beside names with dots."""
    assert normalise(path.encode(), encoded_slash=True) == path.encode()


@pytest.mark.parametrize(
    "path", ["/a%2F..", "/..%2fa", "/a/%2E%2e%2Fb", "/a%2F.%2Fb", "/a%2F..;x", "/.;%2Fb", "/a%5C%2F"]
)
def test_a_dot_segment_at_a_kept_slash_is_refused(path):
    """One program would resolve it, another not; an encoded backslash is never kept."""
    with pytest.raises(PathError):
        normalise(path.encode(), encoded_slash=True)


def test_a_query_is_left_as_it_is():
    """It is no path; only what no URL may hold is refused."""
    assert target(b"/a/../b", b"x=/../%2f").full == b"/b?x=/../%2f"
    assert target(b"/a", b"").full == b"/a?"
    assert target(b"/a").full == b"/a"
    for query in (b"#", b"\xff", b" ", b"\x00"):
        with pytest.raises(PathError):
            target(b"/a", query)


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/a/../b", "/b?q"), ("/a/..", "/?q"), ("/./a", "/a?q"), ("/a/%2e%2E/b", "/b?q"), ("/a/.%2e", "/?q"),
        ("//a/b", "/a/b?q"), ("//", "/?q"), ("/a//../b", "/a/b?q"),
        ("/a//b", None), ("/%61/b%2Ec", None), ("/...", None), ("/.a/b.", None), ("/a%40", None),
    ],
)  # fmt: skip
def test_a_path_is_sent_resolved_where_programs_resolve_it_differently(path, sent):
    """Dot segments in all their forms, and slashes that begin a host for some; any other path is sent as it came."""
    assert resolved(path.encode(), b"q") == (None if sent is None else sent.encode())


@given(PATHS)
def test_what_is_sent_has_no_dot_segment(path):
    """Nor two slashes at its beginning, as they could be after an escape was read."""
    try:
        normal = normalise(path)
    except PathError:
        assume(False)
    sent = resolved(path, b"") or path
    assert normalise(sent) == normal
    assert not {b".", b".."} & set(re.sub(rb"(?i)%2e", b".", sent).split(b"/"))
    assert not sent.startswith(b"//")
