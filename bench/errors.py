"""The one error a person who runs the bench may meet."""


class BenchError(Exception):
    """Something that cannot be measured here; the text says why, and how to mend it where that is known."""
