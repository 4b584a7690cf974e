"""A text that is rendered at most once in a moment."""

import asyncio

from ratelimitd.admin.reused import REUSE_BYTES, REUSE_SECONDS, Reused


class Rendered:
    """Renders texts of two pieces, and counts them; ``now`` is the clock of what is kept."""

    def __init__(self, piece=b"x"):
        self.times = self.closed = 0
        self.now = 0.0
        self.piece = piece
        self.reused = Reused(self.render, lambda: self.now)

    async def render(self):
        self.times += 1
        number = b"%d" % self.times
        try:
            yield number
            await asyncio.sleep(0)
            yield self.piece
        finally:
            self.closed += 1

    async def text(self):
        return b"".join([piece async for piece in self.reused()])


async def test_a_text_is_rendered_once_for_all_that_ask_within_a_moment():
    """Also for those that ask at the same time; after the moment it is a new one."""
    rendered = Rendered()
    assert await asyncio.gather(*(rendered.text() for _ in range(5))) == [b"1x"] * 5
    rendered.now = REUSE_SECONDS * 0.9
    assert await rendered.text() == b"1x"
    rendered.now = REUSE_SECONDS
    assert await rendered.text() == b"2x"


async def test_a_long_text_is_not_kept():
    """It is rendered for each, and sent whole."""
    rendered = Rendered(b"x" * REUSE_BYTES)
    assert [await rendered.text() for _ in range(2)] == [b"%dx" % at + b"x" * (REUSE_BYTES - 1) for at in (1, 2)]


async def test_a_reader_that_leaves_ends_its_rendering_alone():
    """The next one renders anew, and nothing stays locked or open."""
    rendered = Rendered()
    leaving = asyncio.ensure_future(rendered.text())
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    assert await rendered.text() == b"2x"
    assert rendered.times == rendered.closed == 2
