"""The same policy under another algorithm."""

from collections.abc import Iterable

from ratelimitd.algorithms import ALGORITHMS, CONCURRENT, Rate, RateError, is_meter, make_rate
from ratelimitd.policy import DomainRow, KeysRow, Limit, NodeRow, Policy, Row, assemble
from ratelimitd.simulate.run import SimulationError


def with_algorithm(rows: Iterable[Row], domain: bytes, algorithm: str) -> Policy:
    """Return the policy of these rows with one algorithm for all limits and overrides of a domain.

    A burst is kept between two meter algorithms and omitted otherwise; ``count_rejected: false`` is kept for a fixed
    window. Raises SimulationError if a limit cannot use the algorithm.
    """
    inside: list[bool] = []
    changed: list[Row] = []
    for row in rows:
        if isinstance(row, KeysRow):  # comes after all rows that other rows refer to
            changed.append(row)
            continue
        inside.append(row.name == domain if isinstance(row, DomainRow) else inside[row.parent])
        changed.append(_row(row, algorithm) if inside[-1] else row)
    return assemble(changed)


def _row(row: DomainRow | NodeRow, algorithm: str) -> Row:
    if isinstance(row, DomainRow):
        return row._replace(default_algorithm=algorithm)
    return row._replace(limits=tuple(_limit(limit, row, algorithm) for limit in row.limits))


def _limit(limit: Limit, row: NodeRow, algorithm: str) -> Limit:
    if limit.rate is None:
        return limit
    try:
        return limit._replace(rate=_rate(limit.rate, algorithm))
    except RateError as error:
        key = row.key.decode(errors="replace")
        raise SimulationError(f"the limit of descriptor '{key}' cannot be compared as {algorithm}: {error}") from error


def _rate(rate: Rate, algorithm: str) -> Rate:
    if rate.algorithm == CONCURRENT:
        return rate
    meters = is_meter(rate) and ALGORITHMS[algorithm].family == "meter"
    counted = rate.count_rejected or not ALGORITHMS[algorithm].keyed_by_window
    return make_rate(algorithm, rate.quota, rate.window, rate.burst if meters else None, counted)
