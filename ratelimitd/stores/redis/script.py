"""One Lua script for every algorithm: its composition. ``algorithms/lua/batch.lua`` has its arguments and its reply."""

import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Final, NamedTuple

from ratelimitd.algorithms import ALGORITHMS

FRAGMENTS: Final = tuple(dict.fromkeys(row.lua for row in ALGORITHMS.values()))
"""Names of the fragments, each once; a rate refers to its fragment by position, from 1."""

FRAGMENT_OF: Final[Mapping[str, int]] = {name: FRAGMENTS.index(row.lua) + 1 for name, row in ALGORITHMS.items()}


class Script(NamedTuple):
    """The script, and its name in Redis: the SHA-1 of its text."""

    text: str
    sha: str


def composed_script() -> Script:
    """Return the script with its name."""
    text = compose()
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def compose() -> str:
    """Return the script: what the fragments share, the fragments, counts, holds, and the loop over a batch."""
    folder = files("ratelimitd.algorithms") / "lua"

    def text(name: str) -> str:
        return (folder / f"{name}.lua").read_text(encoding="utf-8")

    # Made when needed: each function that a call makes costs it some hundred instructions, and more for each variable
    # of the function that runs, which Lua 5.1 searches; one of a function outside is found at once.
    fragments = "".join(f"if number == {at} then\n{text(name)}end\n" for at, name in enumerate(FRAGMENTS, start=1))
    made = f"local function make(number)\n{fragments}{text('holds')}end\n"
    return f"{text('prelude')}\nreturn (function()\n{made}\n{text('count')}\n{text('batch')}end)()\n"
