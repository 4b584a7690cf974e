"""Shared by the contract's tests: charge a store, and check that every ask is completed once."""

import asyncio

from ratelimitd.limiter.seam import Ask, Decision
from tests.algorithms.cases import NOW

PATIENCE = 30.0
"""Seconds until a test that waits for an answer fails; also the budget of asks that are to be answered."""


async def charge(store, asks, now=NOW):
    """Charge, wait until all are done, check that each was completed exactly once; return every outcome, in order."""
    handed: list[Ask] = []
    finished = asyncio.Event()

    def done(group):
        handed.extend(group)
        if len(handed) >= len(asks):
            finished.set()

    store.charge(asks, now, done)
    async with asyncio.timeout(PATIENCE):
        await finished.wait()
    assert sorted(map(id, handed)) == sorted(map(id, asks))
    return [outcome for ask in asks for outcome in ask.outcomes]


def allowed(outcomes):
    """Whether each was allowed; none may have failed."""
    assert all(isinstance(outcome, Decision) for outcome in outcomes), outcomes
    return [outcome.allowed for outcome in outcomes if isinstance(outcome, Decision)]
