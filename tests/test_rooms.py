"""The picture of the rooms in docs/architecture.md."""

from testkit.rooms import PICTURE, arrows, drawn, layers, reduced


def test_the_picture_is_fresh():
    """docs/rooms.svg shows the imports as they are; ``python -m testkit.rooms`` draws it anew."""
    assert PICTURE.read_text() == drawn(layers(), reduced(arrows()))


def test_an_arrow_that_a_path_implies_is_left_out():
    """a → b → c hides a → c."""
    found = {"a": frozenset("bc"), "b": frozenset("c"), "c": frozenset()}
    assert reduced(found) == {"a": frozenset("b"), "b": frozenset("c"), "c": frozenset()}
