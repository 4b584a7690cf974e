"""Services of both versions on one Redis, and calls of them."""

import asyncio
from contextlib import asynccontextmanager

from grpc import aio

from ratelimitd.client import METHOD
from ratelimitd.proto import message
from tests.service import service
from tests.upgrade import forms

Request = message("envoy.service.ratelimit.v3.RateLimitRequest")
Response = message("envoy.service.ratelimit.v3.RateLimitResponse")
OK, OVER_LIMIT = 1, 2
YEAR = 6
LEASE = "ratelimitd.lease"


class Replica:
    """A running service: its process, and a call of it."""

    def __init__(self, running, channel):
        self.running = running
        self._calls = set()
        self._call = channel.unary_unary(METHOD, Request.SerializeToString, Response.FromString)

    async def ask(self, asked, hits=1, lease=None):
        """Ask for a decision; return the response, which must be one."""
        call = asyncio.ensure_future(self._call(request_of(asked, hits, lease)))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        answer = await call
        assert answer.overall_code in (OK, OVER_LIMIT), answer
        return answer

    async def idle(self):
        """Return when no call is in progress."""
        while self._calls:
            await asyncio.wait(self._calls)


def request_of(asked, hits, lease):
    """Return the request for this question."""
    request = Request(domain=asked.domain)
    descriptor = request.descriptors.add()
    for key, value in asked.entries:
        descriptor.entries.add(key=key, value=value)
    if asked.multiplier:
        # The value is that of an entry of the policy, or any other.
        descriptor.limit.requests_per_unit = forms.QUOTA.get(asked.entries[-1][1], 9)
        descriptor.limit.unit = YEAR
        descriptor.limit.unit_multiplier.value = asked.multiplier
    if lease is not None:
        descriptor.entries.add(key=LEASE, value=lease)
    descriptor.hits_addend.value = hits
    return request


@asynccontextmanager
async def replica(version, folder, redis, **env):
    """Run the service of the version in one folder with the policy in another."""
    own = {
        "REDIS_URL": redis.address,
        "REDIS_SOCKET_TYPE": redis.socket_type,
        "IDENTITY_SECRET": forms.SECRET,
        "STORE_BUDGET": "20s",
        "RATELIMITD_PURE": "1",
        **env,
    }
    async with (
        service("--config", str(folder), env=own, cwd=version) as running,
        aio.insecure_channel(running.grpc) as channel,
    ):
        yield Replica(running, channel)
