"""A limit with other numbers, as the query of a URL has them."""

from collections.abc import Mapping
from typing import Final

from ratelimitd.algorithms import ALGORITHMS, CONCURRENT, SECOND, Rate, RateError, is_meter, make_rate
from ratelimitd.config.values import UINT32_MAX
from ratelimitd.policy import UNIT_SECONDS, UPSTREAM_ALGORITHM, Limit, Unit

NUMBERS: Final = ("requests_per_unit", "unit_multiplier", "burst")

PARAMETERS: Final = (*NUMBERS, "unit", "algorithm")


class WhatIfError(ValueError):
    """A limit that cannot be replayed, or that cannot be; the text says what to write instead."""


def changed_limit(limit: Limit, query: Mapping[str, str]) -> Limit:
    """Return a limit with the numbers, unit and algorithm of a query; what is absent or empty is as configured.

    A burst that is not given is kept between two meters if it was not the limit itself; ``count_rejected: false`` is
    kept for fixed_window. Raises WhatIfError for a limit that has no counter or is on requests in progress, and, with
    the words of the policy's parser, for numbers that cannot be enforced.
    """
    rate = rate_of(limit)
    given = {name: text for name, text in query.items() if text}
    unknown = given.keys() - {*PARAMETERS}
    if unknown:
        raise WhatIfError(f"unknown parameter '{min(unknown)[:100]}': a what-if has {', '.join(PARAMETERS)}")
    numbers = {name: _number(name, given[name]) for name in NUMBERS if name in given}
    unit = _unit(given["unit"]) if "unit" in given else limit.unit
    multiplier = numbers.get("unit_multiplier", limit.unit_multiplier)
    if not multiplier:
        raise WhatIfError("'unit_multiplier' must be at least 1: the window is that many units")
    quota = numbers.get("requests_per_unit", limit.requests_per_unit)
    algorithm = given.get("algorithm", rate.algorithm)[:100]
    burst = numbers.get("burst", _kept_burst(rate, algorithm, quota))
    counted = rate.count_rejected or algorithm != UPSTREAM_ALGORITHM
    try:
        made = make_rate(algorithm, quota, UNIT_SECONDS[unit] * multiplier * SECOND, burst, counted)
    except RateError as error:
        raise WhatIfError(str(error)) from error
    return limit._replace(rate=made, requests_per_unit=quota, unit=unit, unit_multiplier=multiplier)


def rate_of(limit: Limit) -> Rate:
    """Return the rate of a limit that can be replayed; raises WhatIfError for others."""
    if limit.rate is None:
        raise WhatIfError("an unlimited limit has no counter: nothing of it can be replayed")
    if limit.rate.algorithm == CONCURRENT:
        raise WhatIfError(
            "a limit on requests in progress cannot be replayed: rates of hits do not tell how long each request took"
        )
    return limit.rate


def _kept_burst(rate: Rate, algorithm: str, quota: int) -> int | None:
    """Return the burst of a rate that the policy gives it; None if it is the limit itself, or has no place."""
    meters = is_meter(rate) and algorithm in ALGORITHMS and ALGORITHMS[algorithm].family == "meter"
    return rate.burst if meters and quota and rate.burst != rate.quota else None


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) <= UINT32_MAX):
        raise WhatIfError(f"'{name}' must be a whole number from 0 to {UINT32_MAX}")
    return int(text)


def _unit(text: str) -> Unit:
    for unit in UNIT_SECONDS:
        if unit.name.lower() == text.lower():
            return unit
    names = ", ".join(unit.name.lower() for unit in UNIT_SECONDS)
    raise WhatIfError(f"invalid rate limit unit '{text[:100]}': write one of {names}")
