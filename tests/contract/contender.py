"""One of several processes that want the same limit: ``python -m tests.contract.contender KIND ADDRESS TRIES``.

Prints how many were admitted.
"""

import asyncio
import random
import sys

import redis

from ratelimitd.algorithms import Decision, make_rate
from tests.algorithms.cases import NOW, YEAR, ask
from tests.contract.cases import PATIENCE, allowed, charge
from tests.redis_options import store_of

PROCESSES = 4
CONNECTIONS = 50
LIMIT = 200
RATE = make_rate("fixed_window", LIMIT, 70 * YEAR)


class RacyStore:
    """Reads, then writes. Between the two it waits until every process has read: the worst case, each time."""

    def __init__(self, address):
        self._client = redis.Redis(unix_socket_path=address)
        self._round = 0

    def charge(self, asks, now, done):
        for one in asks:
            (wanted,) = one.plan.charges
            held = int(self._client.get(wanted.key) or 0)  # type: ignore[arg-type]
            self._barrier()
            fits = held + one.costs[0] <= LIMIT
            if fits:
                self._client.set(wanted.key, held + one.costs[0])
            self._barrier()
            one.outcomes[0] = Decision(fits, 0, 1, 0 if fits else 1, held)
        done(asks)

    def _barrier(self):
        self._round += 1
        if self._client.incr(f"arrived{self._round}") == PROCESSES:
            self._client.rpush(f"go{self._round}", *range(PROCESSES))
        assert self._client.blpop([f"go{self._round}"], timeout=int(PATIENCE))


async def sound(address, tries):
    """As many as the connections contend at once."""
    store = store_of(address, pool_size=CONNECTIONS, budget=PATIENCE)
    (node,) = store.nodes
    assert all([await node.open() for _ in range(CONNECTIONS)])
    admitted = await asyncio.gather(*(contend(store, tries // CONNECTIONS) for _ in range(CONNECTIONS)))
    await store.close()
    return sum(admitted)


async def contend(store, tries):
    """Admitted of this many, asked for one after the other."""
    admitted = 0
    for _ in range(tries):
        await asyncio.sleep(random.random() / 1000)  # so that the tries go out on all connections, not in one batch
        admitted += sum(allowed(await charge(store, [ask((RATE, b"hot_", 1))], NOW)))
    return admitted


def main():
    kind, address, tries = sys.argv[1:]
    run = sound(address, int(tries)) if kind == "sound" else contend(RacyStore(address), int(tries))
    print(asyncio.run(run))


if __name__ == "__main__":
    main()
