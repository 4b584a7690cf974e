"""What goes wrong during a soak, one thing after the other, drawn at random."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from testkit.fault_proxy import FaultProxy, Way
from testkit.redis_server import RedisServer

from .load import POLICY


@dataclass
class World:
    """What can be made to fail around a service."""

    redis: RedisServer
    proxy: FaultProxy
    policy: Path
    pid: Callable[[int], None]
    draw: random.Random
    happened: Counter[str] = field(default_factory=Counter)

    def client(self):
        """An ordinary client of the Redis, for orders."""
        return self.redis.client(socket_timeout=5)


async def faulty(world, seconds, **faults):
    """Have the proxy fail for a while."""
    world.proxy.set(**faults)  # type: ignore[arg-type]
    await asyncio.sleep(seconds)
    world.proxy.heal()


async def slow(world, seconds):
    """Replies are late, some past every budget."""
    await faulty(world, seconds, replies=Way(delay=world.draw.choice((0.002, 0.02, 1.0)), jitter=0.02))


async def held(world, seconds):
    """Replies do not come, as of a network that is gone."""
    await faulty(world, seconds, replies=Way(hold=True))


async def unreachable(world, seconds):
    """Connections break and no new one is answered."""
    world.proxy.reset()
    await faulty(world, seconds, connects=world.draw.choice(("silent", "unanswered", "reset")))


async def sliced(world, seconds):
    """Replies come in pieces."""
    await faulty(world, seconds, replies=Way(piece=world.draw.choice((1, 7, 100))))


async def cut(world, _):
    """Replies end in the middle of one."""
    world.proxy.set(replies=Way(cut=world.draw.randrange(1, 2_000)))
    await asyncio.sleep(0.1)
    world.proxy.heal()


async def reset(world, _):
    """Every connection is reset."""
    world.proxy.reset()


async def killed(world, seconds):
    """Redis is killed, and comes back empty."""
    world.redis.kill()
    await asyncio.sleep(seconds)
    world.redis.start()


async def hung(world, seconds):
    """Redis hangs."""
    world.redis.hang()
    await asyncio.sleep(seconds)
    world.redis.resume()


async def forgetful(world, _):
    """Redis forgets the script."""
    with world.client() as client:
        client.script_flush()


async def cleared(world, _):
    """Redis throws everybody out."""
    with world.client() as client:
        client.client_kill_filter(_type="normal")


async def full(world, seconds):
    """Redis has no memory left."""
    with world.client() as client:
        client.config_set("maxmemory", "1")
        await asyncio.sleep(seconds)
        client.config_set("maxmemory", MEMORY)


async def reloaded(world, _):
    """The policy changes."""
    world.policy.write_text(POLICY.format(limit=world.draw.randrange(10, 1_000)))


async def spoiled(world, _):
    """The policy is broken."""
    world.policy.write_text("domain: [\n")


async def hupped(world, _):
    """SIGHUP comes."""
    world.pid(signal.SIGHUP)


MEMORY: Final = "64mb"
"""Of Redis; it evicts."""

FAULTS: Final[tuple[Callable[[World, float], Awaitable[None]], ...]] = (
    slow, held, unreachable, sliced, cut, reset, killed, hung, forgetful, cleared, full, reloaded, spoiled, hupped,
)  # fmt: skip


async def go_wrong(world, until):
    """Have one fault after the other, each once in a round, for 0.2 to 1.5 s, and some quiet after it."""
    while not until():
        for fault in world.draw.sample(FAULTS, len(FAULTS)):
            if until():
                return
            await fault(world, world.draw.uniform(0.2, 1.5))
            world.happened[fault.__name__] += 1
            await asyncio.sleep(world.draw.uniform(0.1, 0.6))
