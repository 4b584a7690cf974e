"""How a fuzzer runs: a fixed number of inputs that are the same each time; for longer by hand.

``FUZZ_SECONDS=600 pytest tests/fuzz`` goes on with new inputs for so long in each fuzzer; ``FUZZ_SEED=7`` starts with
others.
"""

import os
import resource
import signal
import time
from collections import Counter
from contextlib import contextmanager

from hypothesis import HealthCheck, Phase, given, seed, settings

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))

LEAST_SHARE = 0.5
"""Of the inputs, that must get past the first parser, or only that parser would be tested."""


CPU_SECONDS = 5
"""For one input: generous, since what it is to catch grows without bound."""

GROWTH = 512 << 20
"""Bytes that a run may add to the process: generous too."""


@contextmanager
def bounded():
    """Stop what takes more than CPU_SECONDS; ``setitimer(2)`` interrupts it wherever it is."""

    def stop(*_):
        raise AssertionError(f"more than {CPU_SECONDS} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextmanager
def little_memory():
    """See that the process was at no time larger by more than GROWTH."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < GROWTH


class Seen:
    """How far the inputs of a run came: a count for each place that is named."""

    def __init__(self):
        self.counts: Counter[str] = Counter()
        self.inputs = 0

    def reached(self, *places):
        """Count one input, which came to these places."""
        self.inputs += 1
        self.counts.update(places)

    def share(self, place):
        """The part of the inputs that came there."""
        return self.counts[place] / self.inputs


def fuzz(inputs, examples, check):
    """Hold so many inputs against a check; what fails is shrunk and shown."""
    options = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    end = time.monotonic() + SECONDS
    number = SEED
    while True:

        @seed(number)
        @options
        @given(inputs)
        def run(each):
            check(each)

        run()
        number += 1
        if time.monotonic() >= end:
            return
