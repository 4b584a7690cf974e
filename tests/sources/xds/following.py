"""A running client of a control plane, what it was given, and what it made of it."""

import asyncio
from contextlib import asynccontextmanager

from ratelimitd.sources.xds import AdsClient, Backoff, ControlPlane, PlaneState

SOON = Backoff(retry=0.01, first=0.01, most=0.01)


class Following:
    """A running client, what it was given, and what it made of it."""

    def __init__(self, plane, verdict):
        self.loaded = []
        self.accepted = []
        self.state = PlaneState()
        self._verdict = verdict
        self.client = AdsClient(plane, self.state, self._apply, self.accepted.append)

    @property
    def newest(self):
        """Version of the newest response that has come."""
        newest = self.client._protocol._newest
        return newest and newest.version

    async def _apply(self, got):
        self.loaded.append(got.version)
        verdict = self._verdict(got)
        return await verdict if asyncio.iscoroutine(verdict) else verdict


@asynccontextmanager
async def following(server, verdict=lambda _: None, **options):
    """A client of this server, with short waits unless the options say otherwise."""
    found = Following(ControlPlane(server, **{"backoff": SOON, **options}), verdict)
    running = asyncio.create_task(found.client.run())
    try:
        yield found
    finally:
        running.cancel()
        await asyncio.wait((running,))
    assert running.cancelled()


async def until(holds):
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.01)
