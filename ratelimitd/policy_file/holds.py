"""``reserve``, and ``concurrent`` with its ``ttl``: what requests hold of a limit while they are in progress."""

from collections.abc import Callable
from typing import Final

from ratelimitd.algorithms import SECOND, Rate, RateError, Reserve, amount_bounds, concurrent_rate
from ratelimitd.config.problems import Notes
from ratelimitd.config.readers import Fields
from ratelimitd.config.yaml_nodes import YamlMap
from ratelimitd.policy import Charging

PLACE_TTL: Final = 600 * SECOND
"""Default of ``ttl`` beside ``concurrent``: longer than answers of language models take, of which 1 % took 146 s."""

COUNTED: Final = (
    *("unit", "requests_per_unit", "unlimited", "algorithm", "burst", "unit_multiplier", "count_rejected"),
    *("charge", "reserve"),
)
"""Keys of limits with a counter."""

ReadFields = Callable[[Notes, YamlMap, str], Fields]


def read_reserve(notes: Notes, fields: Fields, rate: Rate | None, read: ReadFields) -> Reserve | None:
    """Read the ``reserve`` of a limit with this rate; errors are noted."""
    node = fields.get("reserve")
    if node is None:
        return None
    own = read(notes, node, "reserve")
    plain = Reserve()
    made = Reserve(own.get("amount", plain.amount), own.get("start", plain.start), own.get("ttl", plain.ttl))
    if fields.get("charge") is Charging.BEFORE:
        notes.error(
            node.line,
            "'reserve' is for costs that come afterwards, and 'charge: before' says that they do not: "
            "remove one of the two",
        )
    if made.amount and "start" in own:
        notes.error(
            node.line,
            "'start' of 'reserve' is the amount until answers have been seen, and 'amount' says it: "
            "remove start, or write amount: auto",
        )
    if rate is not None and made.amount:
        least, most = amount_bounds(rate)
        if not rate.quota:
            notes.error(node.line, "a limit of 0 denies all, so nothing can be held of it: remove reserve")
        elif not least <= made.amount <= most:
            notes.error(
                node.line,
                f"'amount' of 'reserve' must be from {least} to {most} with a limit of {rate.burst}: "
                "half of it at most, a ten-thousandth at least",
            )
    return made


def read_places(notes: Notes, node: YamlMap, fields: Fields) -> tuple[Rate, Reserve] | None:
    """Read a limit with ``concurrent``; None if it is invalid, which is noted."""
    others = [key for key in COUNTED if key in fields]
    if others:
        notes.error(
            node.line,
            f"'concurrent' limits requests in progress and has no window or counter: remove {', '.join(others)}",
        )
        return None
    ttl = fields.get("ttl", PLACE_TTL)
    try:
        return concurrent_rate(fields["concurrent"], ttl), Reserve(1, 1, ttl)
    except RateError as error:
        notes.error(node.line, str(error))
        return None
