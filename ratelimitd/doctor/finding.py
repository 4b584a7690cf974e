"""Findings of doctor: level, subject, and what to change."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from ratelimitd.observe.logs import masked


class Level(StrEnum):
    """Severity: ``bad`` breaks requests or the start; ``warn`` may do so later, or has a cost."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"


class Finding(NamedTuple):
    """The result of one check.

    Attributes:
        level: see ``Level``.
        subject: settings, policy, a server, ports or the process.
        found: one sentence, without secrets.
        change: the remedy; empty if nothing needs to change.
    """

    level: Level
    subject: str
    found: str
    change: str = ""


def ok(subject: str, found: str) -> Finding:
    """Report that nothing needs to change."""
    return Finding(Level.OK, subject, masked(found))


def warn(subject: str, found: str, change: str) -> Finding:
    """Report something that works but should be changed."""
    return Finding(Level.WARN, subject, masked(found), change)


def bad(subject: str, found: str, change: str) -> Finding:
    """Report something that does not work."""
    return Finding(Level.BAD, subject, masked(found), change)


def count(findings: Iterable[Finding], level: Level) -> int:
    """Return the number of findings of this level."""
    return sum(finding.level is level for finding in findings)
