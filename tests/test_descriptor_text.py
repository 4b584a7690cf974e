"""Descriptors as words of a command line."""

import pytest

from ratelimitd import descriptor_text


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("a=b", ((b"a", b"b"),)),
        ("a=b,c=d", ((b"a", b"b"), (b"c", b"d"))),
        ("a=", ((b"a", b""),)),
        ("a=b=c", ((b"a", b"b=c"),)),
        (r"a=b\,c", ((b"a", b"b,c"),)),
        (r"a=b\\,c=d", ((b"a", b"b\\"), (b"c", b"d"))),
        ("ä=ö", (("ä".encode(), "ö".encode()),)),
    ],
)
def test_descriptor_text(text, entries):
    """A descriptor is read as documented, and shown in the form it is read in."""
    assert descriptor_text.parse(text) == entries
    assert descriptor_text.parse(descriptor_text.show(entries)) == entries


@pytest.mark.parametrize("text", ["", "a", "=b", "a=b,", "a=b,,c=d", "a=b\\"])
def test_not_a_descriptor(text):
    """What cannot be meant is an error that says what to write."""
    with pytest.raises(ValueError, match="write"):
        descriptor_text.parse(text)
