"""Callers that hold a part of a limit, and what their counters say."""

import asyncio

from ratelimitd.limiter import LimitRequest
from tests.contract.asking import START, sent
from tests.contract.cases import PATIENCE


def limit(key, name="token_bucket", more="reserve: {amount: 10}", quota=50):
    """One descriptor with a limit an hour."""
    return f"- {{key: {key}, rate_limit: {{unit: hour, requests_per_unit: {quota}, algorithm: {name}, {more}}}}}\n"


PLACES = "descriptors:\n- {key: k, rate_limit: {concurrent: 2}}\n"
RESERVE = "descriptors:\n" + limit("k") + limit("other")


async def lease(caller, key="k", hits=0, **options):
    """The lease of a question that passes; None if it does not."""
    answer = await caller.ask((key, hits), **options)
    return None if answer.over else answer.lease


async def settle(caller, found, hits=10, key="k", **options):
    """Report with a lease. Return whether the limit is not exceeded."""
    return not (await caller.ask(sent(key, hits, lease=found), **options)).over


async def held(caller, key="k", now=START):
    """What is held, as a look tells."""
    return (await looked(caller, key, now)).held


async def used(caller, key="k", now=START):
    """What is used."""
    return (await looked(caller, key, now)).before


async def looked(caller, key, now):
    """The outcome of a question that takes no hold."""
    request = LimitRequest(b"d", (sent(key, 0),), 0, ours=True, looks=True)
    ask = caller.engine.ask(b"", lambda _: request)
    done = asyncio.Event()
    caller.engine.decide([ask], now, lambda *_: done.set(), lambda *_: done.set())
    async with asyncio.timeout(PATIENCE):
        await done.wait()
    return ask.outcomes[0]


async def at_once(caller, number, key="k", hits=0):
    """The answers to as many questions in one batch."""
    request = LimitRequest(b"d", (sent(key, hits),))
    asks = [caller.engine.ask(b"", lambda _: request) for _ in range(number)]
    answers, done = [], asyncio.Event()

    def keep(_, answer):
        answers.append(answer)
        if len(answers) == number:
            done.set()

    caller.engine.decide(asks, START, keep, keep)
    async with asyncio.timeout(PATIENCE):
        await done.wait()
    return answers


async def took(caller, key="k", now=START):
    """The ask of a request that took a hold; None if it was denied."""
    request, ended, done = LimitRequest(b"d", (sent(key, 0),)), [], asyncio.Event()
    ask = caller.engine.ask(b"", lambda _: request)

    def keep(_, answer):
        ended.append(answer)
        done.set()

    caller.engine.decide([ask], now, keep, keep)
    async with asyncio.timeout(PATIENCE):
        await done.wait()
    return None if ended[0].over else ask


async def renew(caller, *asks, now):
    """Renew what these asks hold. Return what each held before it, as the store found."""
    done = asyncio.Event()
    found = []

    def keep(renewals):
        found.extend(renewal.outcomes[0].moved for renewal in renewals)
        if len(found) == len(asks):
            done.set()

    caller.engine.renew([(ask, None) for ask in asks], now, keep)
    async with asyncio.timeout(PATIENCE):
        await done.wait()
    return found
