"""What doctor found: a level, of what, and what to change."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from ratelimitd.observe.logs import masked


class Level(StrEnum):
    """How bad it is: ``bad`` fails requests or the start, ``warn`` will one day or costs something."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes:
        level: see ``Level``.
        subject: what it is about: settings, policy, a server, ports, the process.
        found: a sentence; no secret is in it.
        change: what to do about it; empty when all is well.
    """

    level: Level
    subject: str
    found: str
    change: str = ""


def ok(subject: str, found: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, subject, masked(found))


def warn(subject: str, found: str, change: str) -> Finding:
    """It works, and something should be changed."""
    return Finding(Level.WARN, subject, masked(found), change)


def bad(subject: str, found: str, change: str) -> Finding:
    """It does not work."""
    return Finding(Level.BAD, subject, masked(found), change)


def count(findings: Iterable[Finding], level: Level) -> int:
    """Return how many are of this level."""
    return sum(finding.level is level for finding in findings)
