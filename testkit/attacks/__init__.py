"""Attacks on a running service by a caller that breaks no bound, and what others see meanwhile; for tests and bench."""

from .measured import Found, Moments, measured
from .table import ATTACKS, Attack
from .victim import Reading

__all__ = ["ATTACKS", "Attack", "Found", "Moments", "Reading", "measured"]
