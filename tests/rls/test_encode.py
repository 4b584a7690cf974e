import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimitd.limiter import ENFORCED, NO_LIMIT, UNLIMITED, Answer, DescriptorStatus, Plan, Rule
from ratelimitd.policy import Limit, Unit
from ratelimitd.rls.encode import EncodeOptions, response

from .conftest import Response

UINT32 = st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, 127, 128, 16383, 16384, 2**32 - 1])
LIMITS = st.builds(
    Limit,
    st.none(),
    requests_per_unit=UINT32,
    unit=st.sampled_from(Unit),
    unit_multiplier=st.integers(1, 2) | UINT32.map(lambda number: number or 1),
    name=st.text(max_size=300),
)
STATUSES = st.builds(DescriptorStatus, st.booleans(), LIMITS.map(Rule), UINT32, UINT32) | st.sampled_from(
    [NO_LIMIT, UNLIMITED]
)


def encoded(answer, multipliers=False):
    return Response.FromString(response(Plan(()), answer, EncodeOptions(multipliers=multipliers), ENFORCED))


@pytest.mark.slow
@given(st.booleans(), st.lists(STATUSES, max_size=5), st.booleans())
def test_the_bytes_are_those_of_the_message(over, statuses, multipliers):
    """Whatever the numbers and names, what is written by hand parses to the message that was meant."""
    told = encoded(Answer(over, None, tuple(statuses), shadowed=False), multipliers)
    meant = Response(overall_code=2 if over else 1)
    for status in statuses:
        built = meant.statuses.add(code=2 if status.over else 1, limit_remaining=status.remaining)
        if status.limit is not None:
            built.current_limit.requests_per_unit = status.limit.requests_per_unit
            several = status.limit.unit_multiplier != 1
            built.current_limit.unit = 0 if several and not multipliers else status.limit.unit
            if several and multipliers:
                built.current_limit.unit_multiplier.value = status.limit.unit_multiplier
            built.current_limit.name = status.limit.name
            built.duration_until_reset.seconds = status.reset
    assert meant == told


def test_what_does_not_fit_a_uint32_is_cut():
    """A burst may hold more than a uint32 has room for; the status then shows the largest number."""
    limit = Limit(None, 1, Unit.SECOND)
    told = encoded(Answer(False, None, (DescriptorStatus(False, Rule(limit), 1 << 40, 3),), False))
    assert told.statuses[0].limit_remaining == 2**32 - 1
