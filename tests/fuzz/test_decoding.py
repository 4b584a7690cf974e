"""The walk over a request's bytes and the protobuf library, for as long as one likes; tests/rls has the rules."""

import pytest

from tests.fuzz.runs import LEAST_SHARE
from tests.fuzz.written import compare

pytestmark = [pytest.mark.slow, pytest.mark.alone]


def test_the_walk_reads_as_the_library_does():
    """Where the walk answers, it equals the library's; it answers most."""
    assert compare(5_000).share("taken") >= LEAST_SHARE
