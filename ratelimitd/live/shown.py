"""How a key is shown: by the entries of its descriptor, as they are or hashed.

A value that the policy names is shown as it is. An API key is shown as its tier and a hash of its pseudonym, in any
case: nothing that a request sent of it is kept here.
"""

from collections.abc import Callable
from hashlib import blake2b
from sys import getsizeof
from typing import Final, NamedTuple

from ratelimitd.limiter import Plan
from ratelimitd.policy import Entry, names_of

Text = Callable[[tuple[Entry, ...]], str]
"""Writes entries, as ``descriptor_text.show``."""

NAMED, VALUE, TIER, CUT = range(4)
"""A value that the policy names; one of the request; a tier in place of an API key; a long value, of which only the
beginning is kept."""

PARTS_MOST: Final = 8
"""Entries of a key that are kept; descriptors rarely have five."""

VALUE_MOST: Final = 128
"""Bytes of a value, or of its key, that are kept: more than an address, a path or an email address usually has."""

SHARED_TEXT: Final = "(new keys together)"
"""In place of the entries of the counter that new keys of a limit share, see NEW_KEYS_PER_SECOND."""

PART_BYTES: Final = 80
"""A part besides its texts: a tuple of four, and its place in another one."""


class Part(NamedTuple):
    """An entry of a key; ``hash`` is that of a value of which not all is kept, else empty."""

    key: bytes
    value: bytes
    kind: int
    hash: str = ""


Parts = tuple[Part, ...]


def derived(secret: bytes) -> bytes:
    """Return the key of the hashes that are shown: of IDENTITY_SECRET, or of a random secret of the process."""
    return blake2b(secret, digest_size=32, person=b"ratelimitd.live").digest()


def hashed(key: bytes, part: bytes, value: bytes) -> str:
    """Return the hash of a value of the entry ``part``; ``key`` is ``derived``. 40 bits: of a million, one collides."""
    framed = b"%d:%b%b" % (len(part), part, value)
    return "#" + blake2b(framed, key=key, digest_size=5).hexdigest()


def parts_of(key: bytes, plan: Plan, position: int) -> Parts:
    """Return what is kept of a descriptor of a plan; ``key`` is ``derived``."""
    item = plan.items[position]
    sent = plan.request.descriptors[position].entries
    found = item.found
    names: list[bytes] = [] if found is None else list(names_of(found.path))
    pins = () if found is None else found.pins
    parts = []
    for index, entry in enumerate((item.entries or sent)[:PARTS_MOST]):
        name = names[index] if index < len(names) else b""
        pinned = index < len(pins) and pins[index] is not None
        parts.append(_part(key, entry, sent[index], name, pinned=pinned))
    if len(item.entries or sent) > PARTS_MOST:
        parts.append(Part(b"...", b"", CUT))
    return tuple(parts)


def _part(key: bytes, counted: Entry, sent: Entry, name: bytes, *, pinned: bool) -> Part:
    part, value = counted
    short = part[:VALUE_MOST]
    if pinned:
        return Part(short, value[:VALUE_MOST], NAMED)
    if sent != counted:  # ``policy.identity`` has replaced an API key: by its tier as shown, by a pseudonym as counted
        return Part(short, sent[1][:VALUE_MOST], TIER, hashed(key, part, value))
    if value and name == b"%b_%b" % counted:
        return Part(short, value[:VALUE_MOST], NAMED)
    if len(value) > VALUE_MOST or len(part) > VALUE_MOST:
        return Part(short, value[:VALUE_MOST], CUT, hashed(key, part, value))
    return Part(part, value, VALUE)


def key_text(key: bytes, parts: Parts, plain: bool, text: Text) -> str:
    """Return a key for people; ``plain``: with the values of requests."""
    return text(tuple([(part.key, _value(key, part, plain)) for part in parts]))


def _value(key: bytes, part: Part, plain: bool) -> bytes:
    if part.kind == NAMED:
        return part.value
    if part.kind == TIER:
        return part.value + part.hash.encode()
    if part.kind == CUT:
        return part.value + b"..." if plain and part.hash else part.hash.encode()
    return part.value if plain else hashed(key, part.key, part.value).encode()


def descriptor_text(parts: Parts, plain: bool, text: Text) -> str | None:
    """Return the descriptor that finds a key again; None if it is hashed, an API key, or not whole."""
    if not plain or not parts or any(part.kind in {TIER, CUT} for part in parts):
        return None
    return text(tuple([(part.key, part.value) for part in parts]))


def size_of(parts: Parts) -> int:
    """Return the memory of parts, bytes."""
    return sum([PART_BYTES + getsizeof(part.key) + getsizeof(part.value) + getsizeof(part.hash) for part in parts])


def shown_descriptor(key: bytes, plan: Plan, position: int, plain: bool, text: Text) -> tuple[str, str | None]:
    """Return (key, descriptor) of a descriptor of a plan, as documents have them; ``key`` is ``Live.key``."""
    parts = parts_of(key, plan, position)
    return key_text(key, parts, plain, text), descriptor_text(parts, plain, text)
