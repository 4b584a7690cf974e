"""The ring of the last hour."""

import pytest

from ratelimitd.live.history import STEPS, Counts, History

BEFORE = 5


@pytest.mark.parametrize("passed", [1, 2, STEPS - 1, STEPS, STEPS + 1, STEPS + 2, 2 * STEPS, 10 * STEPS])
def test_a_step_is_as_old_as_the_steps_after_it(passed):
    """However many steps without hits follow one, it is in its place, and gone after an hour."""
    history = History()
    for step in range(BEFORE):
        history.close(step, 1, Counts(allowed=1))
    history.close(BEFORE, passed, Counts(allowed=7))
    expected = [*[0] * STEPS, *[1] * BEFORE, 7, *[0] * (passed - 1)][-STEPS:]
    assert history.of(0, BEFORE + passed - 1) == expected
