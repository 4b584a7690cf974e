"""Commands on the wire, as hiredis writes them."""

import hiredis
from hypothesis import given
from hypothesis import strategies as st

from ratelimitd.stores.redis.encoding import encode

WORDS = st.lists(st.binary(max_size=300) | st.text(max_size=300) | st.integers(-(1 << 64), 1 << 64), max_size=12)


@given(WORDS)
def test_a_command_is_an_array_of_bulk_strings(words):
    """Texts in UTF-8, and numbers in decimal."""
    assert encode(words) == hiredis.pack_command(tuple(str(word) if isinstance(word, int) else word for word in words))


def test_a_command_may_have_many_words():
    """A script call of 128 charges has a name for each, and long arguments."""
    words = [b"EVALSHA", *(b"k" * length for length in range(400))]
    assert encode(words) == hiredis.pack_command(tuple(words))
