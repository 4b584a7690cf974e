"""Whole numbers that notice where Lua's numbers would stop being exact."""

from ratelimitd.algorithms import EXACT


class Exact(int):
    """A whole number that no operation may take to 2**53 or past it, where Lua's numbers stop being exact."""

    def _kept(self, value):
        assert abs(value) < EXACT, value
        return Exact(value)

    def __add__(self, other):
        return self._kept(int(self) + int(other))

    def __sub__(self, other):
        return self._kept(int(self) - int(other))

    def __rsub__(self, other):
        return self._kept(int(other) - int(self))

    def __mul__(self, other):
        return self._kept(int(self) * int(other))

    def __floordiv__(self, other):
        return self._kept(int(self) // int(other))

    def __mod__(self, other):
        return self._kept(int(self) % int(other))

    def __neg__(self):
        return self._kept(-int(self))

    __radd__ = __add__
    __rmul__ = __mul__


def exactly(rate):
    return rate._replace(
        quota=Exact(rate.quota),
        window=Exact(rate.window),
        burst=Exact(rate.burst),
        numbers=tuple(map(Exact, rate.numbers)),
    )
