"""Steady traffic on limits of every kind while replicas come and go; counts what is admitted."""

import asyncio
import random
from collections import Counter

from tests.upgrade.asking import OK
from tests.upgrade.forms import OWN, PLACES, QUOTA, RATES, RESERVING, asked, quota_of

PAUSE = 0.2
"""Seconds between two requests of a caller: 40 callers leave a busy machine time to start processes."""

SETTLED = 5
"""What an answer has cost in the end: less than was reserved for it. A limit is used up exactly: a last answer may run
over what is left."""

WAITING = 3
"""Callers of places beyond those that there are."""

PLAIN = [*(key for key in RATES if key != PLACES and key not in RESERVING), *OWN]
"""Limits of which a request is counted, and nothing is held."""


class Traffic:
    """Callers of replicas that may change at any time. An answer that is no decision ends its caller, and the test.

    They ask while the context is entered, which may be several times.

    Attributes:
        replicas: those that get requests.
        admitted: hits that passed, by key and value of the limit.
        most: most places that were taken at a time.
    """

    def __init__(self, replicas):
        self.replicas = replicas
        self.admitted = Counter()
        self.most = self._taken = 0
        self._asked = Counter()
        self._more = asyncio.Condition()
        self._ending = False
        self._callers = []

    async def __aenter__(self):
        self._ending = False
        plain = [(self._plain, key, value) for key in PLAIN for value in QUOTA]
        reserving = [(self._answer, key, value) for key in RESERVING for value in QUOTA for _ in range(3)]
        places = [(self._place, PLACES, "small")] * (quota_of(PLACES, "small") + WAITING)
        self._callers = [asyncio.create_task(self._caller(*each)) for each in (*plain, *reserving, *places)]
        return self

    async def __aexit__(self, *error):
        self._ending = True
        await asyncio.gather(*self._callers)

    async def go_on(self, rounds=12):
        """Return when each limit has been asked this number of times more, by one caller or several.

        Four times that is more than the small limit, so each test uses it up.
        """
        goal = {(key, value): self._asked[key, value] + rounds for key in (*PLAIN, *RESERVING) for value in QUOTA}
        goal[PLACES, "small"] = self._asked[PLACES, "small"] + rounds
        async with self._more:
            while any(self._asked[limit] < count for limit, count in goal.items()):
                for each in self._callers:
                    if each.done():
                        await each  # raises what ended it
                await self._more.wait()

    def replica(self):
        """Return one that gets requests."""
        return random.choice(self.replicas)

    async def _caller(self, act, key, value):
        try:
            while not self._ending:
                await act(key, value)
                self._asked[key, value] += 1
                async with self._more:
                    self._more.notify_all()
                await asyncio.sleep(PAUSE * random.random() * 2)
        finally:
            async with self._more:
                self._more.notify_all()

    async def _plain(self, key, value):
        """Ask for one or two."""
        hits = random.randint(1, 2)
        answer = await self.replica().ask(asked(key, value), hits)
        if answer.overall_code == OK:
            self.admitted[key, value] += hits

    async def _answer(self, key, value):
        """Ask at one replica, and report what the answer has cost at another."""
        question = await self.replica().ask(asked(key, value), hits=0)
        if question.overall_code == OK:
            await self.replica().ask(asked(key, value), SETTLED, lease=question.dynamic_metadata["lease"])
            self.admitted[key, value] += SETTLED

    async def _place(self, key, value):
        """Take a place at one replica, and leave it at another."""
        question = await self.replica().ask(asked(key, value), hits=0)
        if question.overall_code == OK:
            self._taken += 1
            self.most = max(self.most, self._taken)
            await asyncio.sleep(PAUSE)
            self._taken -= 1
            await self.replica().ask(asked(key, value), hits=0, lease=question.dynamic_metadata["lease"])
