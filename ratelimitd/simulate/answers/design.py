"""Designs to compare: ways to charge answers to the same limits."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from ratelimitd.algorithms import ALGORITHMS, SECOND, Rate, RateError, Reserve, amount_bounds, make_rate
from ratelimitd.config.values import integer, positive_duration
from ratelimitd.policy import UNIT_SECONDS, Charging, DomainRow, Entry, Limit, NodeRow, Policy, Row, Unit
from ratelimitd.simulate.compare import rate_with, with_limits
from ratelimitd.simulate.run import SimulationError


class Design(NamedTuple):
    """A change of all limits, as ``--compare`` names it.

    Attributes:
        name: its text.
        algorithm: of all limits; None: as the policy has them.
        charge: of all limits, with ``reserve``; None: both as the policy has them.
        reserve: what an answer in progress holds.
        leases: whether a settlement says which question it belongs to.
    """

    name: str
    algorithm: str | None = None
    charge: Charging | None = None
    reserve: Reserve | None = None
    leases: bool = False


AS_CONFIGURED: Final = Design("as configured")

DOMAIN: Final = b"budget"
CALLERS: Final[tuple[Entry, ...]] = ((b"callers", b"all"),)
"""Domain and descriptor of a budget that no policy has."""


def _reserving(design: Design, **changed: int) -> Design:
    reserve = (design.reserve or Reserve())._replace(**changed)
    return design._replace(reserve=reserve, charge=design.charge or Charging.AFTER)


_WORDS: Final[Mapping[str, Callable[[Design], Design]]] = {
    "before": lambda design: design._replace(charge=Charging.BEFORE),
    "after": lambda design: design._replace(charge=Charging.AFTER),
    "reserve": _reserving,
    "lease": lambda design: design._replace(leases=True),
}

_VALUES: Final[Mapping[str, Callable[[str], dict[str, int]]]] = {
    "reserve": lambda text: {"amount": 0 if text == "auto" else integer(1)(text)},
    "start": lambda text: {"start": integer(1)(text)},
    "ttl": lambda text: {"ttl": round(positive_duration(text) * SECOND)},
}

_EXAMPLES: Final[Mapping[str, str]] = {"reserve": "reserve=2000", "start": "start=2000", "ttl": "ttl=300s"}

_FORMS: Final = (
    "write an algorithm, before, after, reserve, reserve=N, start=N, ttl=DURATION or lease, or several of them joined "
    "by +, such as token_bucket+reserve+lease"
)


def design(text: str) -> Design:
    """Parse words that are joined by ``+``. Raises ValueError."""
    made = Design(text)
    said: dict[str, str] = {}
    for word in text.split("+"):
        name, has_value, value = word.partition("=")
        if word in ALGORITHMS:
            made = made._replace(algorithm=word)
        elif word in _WORDS:
            made = _WORDS[word](made)
        elif has_value and name in _VALUES:
            made = _reserving(made, **_value(word, name, value))
        else:
            raise ValueError(f"{word!r} is no design: {_FORMS}")
        what = "an algorithm" if word in ALGORITHMS else _SUBJECTS.get(name, name)
        if what in said:
            raise ValueError(f"{text!r} says {what} twice, {said[what]!r} and {word!r}: remove one of them")
        said[what] = word
    _agree(made, said)
    return made


_SUBJECTS: Final[Mapping[str, str]] = {"before": "when costs come", "after": "when costs come"}
"""What words say that exclude each other; others say what they name."""


def _agree(made: Design, said: Mapping[str, str]) -> None:
    """Raise ValueError if a word of a design contradicts another one, or has no effect beside it."""
    if made.reserve is not None and made.charge is not Charging.AFTER:
        raise ValueError(f"{made.name!r} charges before and reserves: {_FORMS}")
    if made.reserve is None and made.charge is not None and made.leases:
        raise ValueError(f"{made.name!r} has a lease and nothing that it releases: write reserve+lease")
    if made.reserve is not None and made.reserve.amount and "start" in said:
        amount = said["reserve"]
        raise ValueError(
            f"{made.name!r}: start is for reserve=auto: remove {said['start']!r}, or write auto in {amount!r}"
        )


def _value(word: str, name: str, text: str) -> dict[str, int]:
    try:
        return _VALUES[name](text)
    except ValueError as error:
        raise ValueError(f"{word!r}: {error}; write {_EXAMPLES[name]}") from error


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
        if limit.rate is None or limit.rate.algorithm not in ALGORITHMS:  # unlimited, or requests in progress
            return limit
        rate = rate_with(limit.rate, design.algorithm) if design.algorithm else limit.rate
        if design.charge is None:
            return limit._replace(rate=rate)
        if design.reserve is not None:
            _check(rate, design.reserve)
        return limit._replace(rate=rate, charge=design.charge, reserve=design.reserve)

    made = with_limits(rows, domain, of_domain, of_limit, f"cannot be compared as {design.name}")
    if design.leases and not any(limit.reserve for node in made.nodes for limit in node.limits):
        raise SimulationError(f"{design.name!r} has a lease, and no limit reserves anything: write reserve+lease")
    return made


def _check(rate: Rate, reserve: Reserve) -> None:
    """Raise RateError if an answer cannot hold this much of a limit."""
    least, most = amount_bounds(rate)
    if reserve.amount and not least <= reserve.amount <= most:
        raise RateError(f"an amount of {reserve.amount} is not from {least} to {most}")
