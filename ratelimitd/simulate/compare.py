"""The same policy under other rules."""

from collections.abc import Callable, Iterable

from ratelimitd.algorithms import ALGORITHMS, CONCURRENT, Rate, RateError, is_meter, make_rate
from ratelimitd.policy import DomainRow, KeysRow, Limit, NodeRow, Policy, Row, assemble
from ratelimitd.simulate.run import SimulationError


def with_algorithm(rows: Iterable[Row], domain: bytes, algorithm: str) -> Policy:
    """Return the policy of these rows with one algorithm for all limits and overrides of a domain.

    A burst is kept between two meter algorithms and omitted otherwise; ``count_rejected: false`` is kept for a fixed
    window. Raises SimulationError if a limit cannot use the algorithm.
    """
    return with_limits(
        rows,
        domain,
        lambda row: row._replace(default_algorithm=algorithm),
        lambda limit: limit._replace(rate=limit.rate and rate_with(limit.rate, algorithm)),
        f"cannot be compared as {algorithm}",
    )


def with_limits(
    rows: Iterable[Row],
    domain: bytes,
    of_domain: Callable[[DomainRow], DomainRow],
    of_limit: Callable[[Limit], Limit],
    problem: str,
) -> Policy:
    """Return the policy of these rows with one domain and its limits changed.

    Raises SimulationError, with ``problem``, if ``of_limit`` raises RateError.
    """
    inside: list[bool] = []
    changed: list[Row] = []
    for row in rows:
        if isinstance(row, KeysRow):  # comes after all rows that other rows refer to
            changed.append(row)
            continue
        inside.append(row.name == domain if isinstance(row, DomainRow) else inside[row.parent])
        if not inside[-1]:
            changed.append(row)
        elif isinstance(row, DomainRow):
            changed.append(of_domain(row))
        else:
            changed.append(_with_limits(row, of_limit, problem))
    return assemble(changed)


def _with_limits(row: NodeRow, of_limit: Callable[[Limit], Limit], problem: str) -> NodeRow:
    try:
        return row._replace(limits=tuple(of_limit(limit) for limit in row.limits))
    except RateError as error:
        key = row.key.decode(errors="replace")
        raise SimulationError(f"the limit of descriptor '{key}' {problem}: {error}") from error


def rate_with(rate: Rate, algorithm: str) -> Rate:
    """Return a rate with another algorithm; requests in progress have none. Raises RateError if it cannot have it."""
    if rate.algorithm == CONCURRENT:
        return rate
    meters = is_meter(rate) and ALGORITHMS[algorithm].family == "meter"
    counted = rate.count_rejected or not ALGORITHMS[algorithm].keyed_by_window
    return make_rate(algorithm, rate.quota, rate.window, rate.burst if meters else None, counted)
