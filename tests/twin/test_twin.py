"""The proxy, and Envoy with the service, limit the same requests by the same file."""

import asyncio
from contextlib import ExitStack

import pytest

from testkit.envoy import upstream
from testkit.redis_server import redis_server

from .files import ALGORITHMS, FAILURES, STRANGER, requests, write, write_failures
from .twins import ask, differences, twins

pytestmark = [pytest.mark.envoy, pytest.mark.process, pytest.mark.alone]


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
def envs(request):
    """The environments of the two, with a store for each."""
    with ExitStack() as stack:
        if request.param == "memory":
            yield {}, {}
        else:
            yield tuple({"REDIS_URL": stack.enter_context(redis_server()).address} for _ in "12")


@pytest.mark.parametrize("all_or_nothing", [True, False])
async def test_the_same_requests_are_limited(envs, all_or_nothing, tmp_path):
    """By each algorithm: status, X-RateLimit-Limit and -Remaining of every request are equal, Reset within a second."""
    sent = {algorithm: requests(algorithm) for algorithm in ALGORITHMS}
    async with upstream() as app:
        file, policy = write(tmp_path, app, all_or_nothing=all_or_nothing)
        async with twins(file, policy, tmp_path, envs) as urls:
            answers = await asyncio.gather(*(ask(urls, each) for each in sent.values()))
    wrong = {}
    for (algorithm, asked), answered in zip(sent.items(), answers, strict=True):
        statuses = [status for (status, *_), _ in answered[0]]
        assert {200, 400, 404, 429} <= set(statuses), statuses
        assert statuses.count(429) > 20, algorithm
        wrong[algorithm] = differences(asked, answered)
    assert not any(wrong.values()), "\n".join(f"{name}: {each}" for name, found in wrong.items() for each in found)


@pytest.mark.redis
async def test_a_store_that_is_away_has_the_same_answers(tmp_path):
    """What a limit does while its store is away is what a client sees, here and through Envoy."""
    sent = [("GET", f"/{each}", [], STRANGER) for each in (*FAILURES, "both") for _ in range(4)]
    with redis_server() as one, redis_server() as other:
        async with upstream() as app:
            file, policy = write_failures(tmp_path, app)
            envs = [{"REDIS_URL": redis.address} for redis in (one, other)]
            async with twins(file, policy, tmp_path, envs) as urls:
                for redis in (one, other):
                    redis.kill()
                answered = await ask(urls, sent)
    statuses = [status for (status, *_), _ in answered[0]]
    assert statuses == [503] * 4 + [200] * 4 + [429] * 4 + [200, 200, 429, 429] + [429] * 4
    assert not differences(sent, answered)
