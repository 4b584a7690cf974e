"""Errors of a policy as one exception."""

from ratelimitd.config.problems import PolicyError, PolicyErrors


class Written(PolicyError):  # noqa: N818 -- it is no exception
    """An error that notes when it is written."""

    times = 0

    def __str__(self):
        type(self).times += 1
        return super().__str__()


def test_errors_are_written_when_they_are_shown():
    """A policy may have 50,000, and to write each would hold the event loop; shown, each has its line."""
    errors = PolicyErrors([Written("p.yaml", 3, "a"), Written("q.yaml", 0, "b")])
    assert Written.times == 0
    assert str(errors) == "p.yaml: a (line 3)\nq.yaml: b"
