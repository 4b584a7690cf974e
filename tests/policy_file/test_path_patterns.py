"""Patterns of an overlay, against matchers that try everything."""

from fnmatch import translate
from re import DOTALL
from re import compile as compiled

from hypothesis import example, given
from hypothesis import strategies as st

from ratelimitd.policy_file.path_patterns import element, glob, path_of

TEXTS = st.text("ab_", max_size=5)
GLOBS = st.text("ab_*", max_size=5)
ELEMENTS = st.one_of(
    st.just("**"),
    GLOBS.filter(lambda text: text not in ("", "**")),
    st.builds("{}={}".format, GLOBS.filter(bool), GLOBS),
)
DESCRIPTORS = st.lists(st.tuples(TEXTS.filter(bool), TEXTS), max_size=4)


def fits(text, pattern):
    """As Python's fnmatch has it, which is by regular expressions."""
    return compiled(translate(pattern), DOTALL).match(text) is not None


def meant(written, key, value):
    """Whether a descriptor is one that an element means, as docs/overlay.md says it."""
    wanted, equals, content = written.partition("=")
    if not fits(key, wanted):
        return False
    if not equals:
        return True
    return value == "" if content == "" else value != "" and fits(value, content)


def matched(path, descriptors):
    """Whether a path stands for these descriptors, by trying every number of levels for each ``**``."""
    if not path:
        return not descriptors
    first, *rest = path
    if first == "**":
        return any(matched(rest, descriptors[levels:]) for levels in range(len(descriptors) + 1))
    return bool(descriptors) and meant(first, *descriptors[0]) and matched(rest, descriptors[1:])


def walked(path, descriptors):
    made = path_of(tuple(map(element, path)))
    position = made.start
    for key, value in descriptors:
        position = made.below(position, key.encode(), value.encode())
    return made.ends(position)


@given(GLOBS, TEXTS)
@example("a*a", "a")
@example("*a*a*", "aba")
@example("**", "")
def test_a_star_stands_for_any_text(pattern, text):
    """Also for none, and each for its own: the beginning and the end of a text do not overlap."""
    assert glob(pattern).matches(text.encode()) == fits(text, pattern)


@given(st.lists(ELEMENTS, max_size=4), DESCRIPTORS)
@example(["**", "a", "**"], [("a", "")])
@example(["a"], [("a", ""), ("a", "")])
@example(["**"], [])
@example(["a=*"], [("a", "")])
@example(["a="], [("a", "b")])
def test_a_path_stands_for_the_descriptors_from_the_root_to_a_limit(path, descriptors):
    """All of them: one element for each, and ``**`` for any number."""
    assert walked(path, descriptors) == matched(path, descriptors)


@given(st.lists(ELEMENTS, min_size=1, max_size=4), DESCRIPTORS, DESCRIPTORS)
def test_what_cannot_match_further_down_is_left(path, above, below):
    """Position 0 is final, so the entries that are for nothing below a descriptor cost nothing there."""
    made = path_of(tuple(map(element, path)))
    position = made.start
    for key, value in above:
        position = made.below(position, key.encode(), value.encode())
    if not position:
        assert not matched(path, above + below)


def test_any_levels_in_a_row_are_one_element():
    """They mean the same, and each would be tried with each descriptor: 63 of them took 50 times as long."""
    made = path_of(map(element, ["**", "**", "a", "**", "**", "**=b"]))
    assert [each.text for each in made.elements] == ["**", "a", "**", "**=b"]


def test_bytes_that_are_no_text_are_any_text():
    """A ``!!binary`` value of a policy is for a star alone."""
    assert element("k=*").matches(b"k", b"\xff")
    assert not element("k=x").matches(b"k", b"\xff")
