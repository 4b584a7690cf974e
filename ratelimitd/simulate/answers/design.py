"""Designs to compare: ways to charge answers to the same limits."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from ratelimitd.algorithms import ALGORITHMS, SECOND, RateError, make_rate
from ratelimitd.policy import UNIT_SECONDS, Charging, DomainRow, Entry, Limit, NodeRow, Policy, Row, Unit
from ratelimitd.simulate.compare import rate_with, with_limits
from ratelimitd.simulate.run import SimulationError


class Design(NamedTuple):
    """A change of all limits, as ``--compare`` names it. None: as the policy has it.

    Attributes:
        name: its text.
        algorithm: of all limits.
        charge: of all limits.
    """

    name: str
    algorithm: str | None = None
    charge: Charging | None = None


AS_CONFIGURED: Final = Design("as configured")

DOMAIN: Final = b"budget"
CALLERS: Final[tuple[Entry, ...]] = ((b"callers", b"all"),)
"""Domain and descriptor of a budget that no policy has."""

_WORDS: Final[Mapping[str, Charging]] = {"before": Charging.BEFORE, "after": Charging.AFTER}


def design(text: str) -> Design:
    """Parse words that are joined by ``+``: an algorithm, ``before``, ``after``. Raises ValueError."""
    made = Design(text)
    for word in text.split("+"):
        if word in ALGORITHMS:
            made = made._replace(algorithm=word)
        elif word in _WORDS:
            made = made._replace(charge=_WORDS[word])
        else:
            raise ValueError(f"{word!r} is no design: write an algorithm, or one of {', '.join(_WORDS)}, joined by +")
    return made


def rows_of(amount: int, seconds: int, algorithm: str) -> list[Row]:
    """Return a policy with one limit for ``CALLERS``. Raises SimulationError if the algorithm cannot have it."""
    try:
        rate = make_rate(algorithm, amount, seconds * SECOND)
    except RateError as error:
        raise SimulationError(f"the budget is not possible: {error}") from error
    units = (unit for unit in (Unit.WEEK, Unit.DAY, Unit.HOUR, Unit.MINUTE) if seconds % UNIT_SECONDS[unit] == 0)
    unit = next(units, Unit.SECOND)
    limit = Limit(rate, amount, unit, seconds // UNIT_SECONDS[unit], charge=Charging.AFTER)
    return [
        DomainRow(DOMAIN, algorithm, all_or_nothing=False, identity=None),
        NodeRow(0, CALLERS[0][0], b"", (limit,), None, 0),
    ]


def policy_of(rows: Iterable[Row], domain: bytes, design: Design) -> Policy:
    """Return the policy of these rows under a design. Raises SimulationError if a limit cannot have it."""

    def of_domain(row: DomainRow) -> DomainRow:
        return row._replace(
            default_algorithm=design.algorithm or row.default_algorithm,
            default_charge=row.default_charge if design.charge is None else design.charge,
        )

    def of_limit(limit: Limit) -> Limit:
        if limit.rate is None:
            return limit
        return limit._replace(
            rate=rate_with(limit.rate, design.algorithm) if design.algorithm else limit.rate,
            charge=limit.charge if design.charge is None else design.charge,
        )

    return with_limits(rows, domain, of_domain, of_limit, f"cannot be compared as {design.name}")
