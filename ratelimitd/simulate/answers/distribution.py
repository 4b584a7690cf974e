"""Random numbers of a distribution that is written in a few characters."""

import math
from random import Random
from typing import Final, NamedTuple

_FORMS: Final = "write N, LEAST..MOST, MEDIAN,MEAN or MEDIAN,MEAN,LEAST..MOST, such as 400,732,50..8000"


class Distribution(NamedTuple):
    """A log-normal distribution that is cut to a range, or an even one.

    Attributes:
        median: median; None for an even distribution over the range.
        sigma: standard deviation of the logarithm.
        least, most: range. A number outside of it becomes its nearest end.
    """

    median: float | None
    sigma: float
    least: float
    most: float

    def draw(self, random: Random) -> float:
        """Return a number."""
        if self.median is None:
            return random.uniform(self.least, self.most)
        drawn = self.median * math.exp(random.gauss(0.0, self.sigma))
        return min(max(drawn, self.least), self.most)


def distribution(text: str) -> Distribution:
    """Parse ``N`` (always this), ``LEAST..MOST`` (even), ``MEDIAN,MEAN`` (log-normal), or that with a range.

    The mean is that of the distribution before it is cut to the range. Raises ValueError.
    """
    *numbers, last = text.split(",")
    if ".." in last:
        least, _, most = last.partition("..")
        bounds = _number(least), _number(most)
    else:
        numbers, bounds = [*numbers, last], (0.0, math.inf)
    found = [_number(number) for number in numbers]
    if bounds[0] > bounds[1] or len(found) > 2 or (len(found) == 1 and ".." in last):
        raise ValueError(f"not a distribution; {_FORMS}")
    if not found:
        return Distribution(None, 0.0, *bounds)
    median, mean = found[0], found[-1]
    if mean < median:
        raise ValueError(f"a mean of {mean:g} below the median of {median:g} is not log-normal; {_FORMS}")
    return Distribution(median, math.sqrt(2 * math.log(mean / median)), *bounds)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"{text!r} is not a number above 0; {_FORMS}")
    return number
