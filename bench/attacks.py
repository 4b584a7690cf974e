"""Attacks by callers that break no bound: what each costs the attacker, what it costs the service, what others see."""

import math
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from bench.measure import digits
from bench.report import Report
from testkit.attacks import ATTACKS, Attack, Found, Moments, measured
from testkit.machine import Cores, busy, cores

MEDIAN: Final = 0.003
"""Seconds within which others' median stays, if that is more than twice their median alone."""

WIDE_MEDIAN: Final = 0.005
"""The same while 200 calls of 64 descriptors arrive in one write: a turn is 256 charges, at up to 11 µs each."""

TAIL: Final = 0.02
"""Seconds within which others' p99 stays, if that is more than 1.5 times theirs alone: Envoy waits as long."""

COLUMNS: Final = (
    "attack", "port", "sent kB/s", "attacker's CPU", "our CPU", "times", "MiB more", "others: p50 ms alone", "beside",
    "p99 ms alone", "beside", "failed",
)  # fmt: skip


class Scale(NamedTuple):
    """How long each attack is measured."""

    moments: Moments = Moments(alone=2.0, lead=0.5, beside=4.5)


QUICK: Final = Scale(Moments(alone=0.4, lead=0.2, beside=1.0))


def measure(scale: Scale, command: str) -> Report:
    """Make every attack, each on a service of its own."""
    where = cores()
    began = busy()
    found = {name: measured(name, attack, scale.moments, where) for name, attack in ATTACKS.items()}
    missed = [f"**{name}: {miss}**" for name, each in found.items() for miss in misses(name, each)]
    return Report(
        "attacks",
        "Attacks that break no bound",
        COLUMNS,
        [_row(name, ATTACKS[name], each) for name, each in found.items()],
        [
            *_notes(scale.moments, where),
            f"other work on the machine: {began} before, {busy()} after",
            *(missed or ["every row meets the bounds"]),
        ],
        [_data(name, each) for name, each in found.items()],
        command,
        page="reliability.md",
    )


def misses(name: str, found: Found) -> Iterator[str]:
    """Yield the bounds that an attack exceeded."""
    alone, beside = found.alone, found.beside
    median = max(2 * alone.p50, WIDE_MEDIAN if name == "wide" else MEDIAN)
    tail = max(1.5 * alone.p99, TAIL)
    if not beside.p50 <= median:
        yield f"p50 {digits(beside.p50 * 1e3)} ms, of {digits(median * 1e3)} allowed"
    if not beside.p99 <= tail:
        yield f"p99 {digits(beside.p99 * 1e3)} ms, of {digits(tail * 1e3)} allowed"
    if beside.failed:
        yield f"{len(beside.failed)} asks failed, such as with {beside.failed[0]}"


def _notes(moments: Moments, where: Cores) -> list[str]:
    return [
        (
            f"each row: others alone for {moments.alone:g} s, beside the attack for {moments.beside:g} s, and alone "
            f"again; the service on core {where.server}, the attacker and the others on core {where.load}"
        ),
        (
            "others ask 100 times a second, for 1,000 users; the time of an ask starts when it was due; where "
            "connections are taken, others make new ones and look at /livez; where streams are, others watch"
        ),
        (
            "CPU: of a core; ours is without what the others alone cost; times: ours for the attacker's, who sends "
            "bytes made beforehand; MiB more: the most that the service's memory grew"
        ),
        *(f"`{name}`: {attack.about}" for name, attack in ATTACKS.items()),
    ]


def _row(name: str, attack: Attack, found: Found) -> list[str]:
    def ms(seconds: float) -> str:
        return "" if math.isnan(seconds) else digits(seconds * 1e3)

    return [
        f"`{name}`",
        attack.port,
        f"{found.sent / found.seconds / 1e3:,.0f}",
        f"{found.cpu / found.seconds:.1%}",
        f"{found.ours / found.seconds:.0%}",
        digits(found.price),
        f"{found.held / (1 << 20):.1f}",
        *map(ms, (found.alone.p50, found.beside.p50, found.alone.p99, found.beside.p99)),
        str(len(found.beside.failed)),
    ]


def _data(name: str, found: Found) -> dict[str, Any]:
    """Return a row for JSON, with null for nan."""
    numbers = {
        "seconds": found.seconds,
        "sent": found.sent,
        "cpu": found.cpu,
        "ours": found.ours,
        "held": found.held,
        "alone_p50": found.alone.p50,
        "alone_p99": found.alone.p99,
        "p50": found.beside.p50,
        "p99": found.beside.p99,
        "failed": len(found.beside.failed),
    }
    return {"attack": name, **{key: None if math.isnan(value) else value for key, value in numbers.items()}}
