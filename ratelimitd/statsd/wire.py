"""Lines of statsd and of DogStatsD, and their division into datagrams. No I/O."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple


class Written(NamedTuple):
    """A metric's name as its lines have it: value, type and rate are between ``head`` and ``tail``."""

    head: bytes
    tail: bytes


Write = Callable[[str], Written]
"""Writes a name with its tags."""

Tags = Sequence[tuple[str, str]]


def line(written: Written, value: int, kind: bytes, rate: bytes = b"") -> bytes:
    """Return one line; ``rate`` is the share of events that are sent, as ``|@0.5``."""
    return b"%b%d%b%b%b\n" % (written.head, value, kind, rate, written.tail)


def statsd(tags: Tags) -> Write:
    """Make a writer of plain statsd. Tags are a part of the name: ``.__KEY=VALUE``, sorted, as gostats has them."""
    suffix = "".join([f".__{key}={tag_value(value)}" for key, value in sorted(tags) if key and value])

    def write(name: str) -> Written:
        return Written(f"{_name(name)}{suffix}:".encode(errors="backslashreplace"), b"")

    return write


def dog_statsd(tags: Tags, rename: Callable[[str], tuple[str, Tags]]) -> Write:
    """Make a writer of DogStatsD, where tags follow the type; ``rename`` may take a name apart into a name and tags."""
    extra = [f"{key}:{tag_value(value)}" for key, value in sorted(tags) if key and value]

    def write(name: str) -> Written:
        renamed, made = rename(name)
        each = ",".join([*extra, *(f"{_tag(key)}:{_tag(value)}" for key, value in made)])
        tail = f"|#{each}".encode(errors="backslashreplace") if each else b""
        return Written(f"{_name(renamed)}:".encode(errors="backslashreplace"), tail)

    return write


def tag_value(value: str) -> str:
    """Return a tag's value without what separates parts of a line, as gostats does."""
    return value.translate(_IN_VALUES)


_IN_VALUES = str.maketrans(dict.fromkeys(".:|", "_"))
_IN_NAMES = str.maketrans(dict.fromkeys(":|\n", "_"))
_IN_TAGS = str.maketrans(dict.fromkeys(",|\n", "_"))


def _name(name: str) -> str:
    """Return a name that ends where it should; names of limits are so already, and those of rules may not be."""
    return name.translate(_IN_NAMES)


def _tag(text: str) -> str:
    return text.translate(_IN_TAGS)


def datagrams(lines: bytes, most: int) -> Iterator[bytes]:
    """Divide whole lines into parts of at most ``most`` bytes, without the last line feed; a longer line is alone."""
    begin = 0
    while begin < len(lines):
        end = len(lines)
        if end - begin > most:
            end = lines.rfind(b"\n", begin, begin + most + 1) + 1 or lines.index(b"\n", begin) + 1
        yield lines[begin : end - 1]
        begin = end


def thinned(times: Iterable[tuple[int, int]], most: int) -> tuple[list[tuple[int, int]], bytes]:
    """Return (time, lines) for (time, calls), at most about ``most`` lines, and the rate to write in each.

    Every 2nd, 4th, 8th … call by its time is sent if there are more calls, so that quantiles stay as they are. The
    step is a power of two, since receivers compute 1 / rate, which is exact then.
    """
    ordered = sorted(times)
    step = 1
    while sum(calls for _, calls in ordered) > step * most:
        step *= 2
    kept: list[tuple[int, int]] = []
    before = step // 2
    for time, calls in ordered:
        kept.append((time, (before + calls) // step - before // step))
        before += calls
    return kept, b"" if step == 1 else b"|@%b" % repr(1 / step).encode()
