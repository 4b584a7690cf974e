"""What goes wrong during a soak, one thing after the other, drawn at random."""

import asyncio
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import redis

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

    def client(self) -> "redis.Redis":
        """An ordinary client of the Redis, for orders."""
        return self.redis.client(socket_timeout=5)


async def faulty(world: World, seconds: float, **faults: object) -> None:
    """Have the proxy fail for a while."""
    world.proxy.set(**faults)  # type: ignore[arg-type]
    await asyncio.sleep(seconds)
    world.proxy.heal()


async def slow(world: World, seconds: float) -> None:
    """Replies are late, some past every budget."""
    await faulty(world, seconds, replies=Way(delay=world.draw.choice((0.002, 0.02, 1.0)), jitter=0.02))


async def held(world: World, seconds: float) -> None:
    """Replies do not come, as of a network that is gone."""
    await faulty(world, seconds, replies=Way(hold=True))


async def unreachable(world: World, seconds: float) -> None:
    """Connections break and no new one is answered."""
    world.proxy.reset()
    await faulty(world, seconds, connects=world.draw.choice(("silent", "unanswered", "reset")))


async def sliced(world: World, seconds: float) -> None:
    """Replies come in pieces."""
    await faulty(world, seconds, replies=Way(piece=world.draw.choice((1, 7, 100))))


async def cut(world: World, _: float) -> None:
    """Replies end in the middle of one."""
    world.proxy.set(replies=Way(cut=world.draw.randrange(1, 2_000)))
    await asyncio.sleep(0.1)
    world.proxy.heal()


async def reset(world: World, _: float) -> None:
    """Every connection is reset."""
    world.proxy.reset()


async def killed(world: World, seconds: float) -> None:
    """Redis is killed, and comes back empty."""
    world.redis.kill()
    await asyncio.sleep(seconds)
    world.redis.start()


async def hung(world: World, seconds: float) -> None:
    """Redis hangs."""
    world.redis.hang()
    await asyncio.sleep(seconds)
    world.redis.resume()


async def forgetful(world: World, _: float) -> None:
    """Redis forgets the script."""
    with world.client() as client:
        client.script_flush()


async def cleared(world: World, _: float) -> None:
    """Redis throws everybody out."""
    with world.client() as client:
        client.client_kill_filter(_type="normal")


async def full(world: World, seconds: float) -> None:
    """Redis has no memory left."""
    with world.client() as client:
        client.config_set("maxmemory", "1")
        await asyncio.sleep(seconds)
        client.config_set("maxmemory", MEMORY)


async def reloaded(world: World, _: float) -> None:
    """The policy changes."""
    world.policy.write_text(POLICY.format(limit=world.draw.randrange(10, 1_000)))


async def spoiled(world: World, _: float) -> None:
    """The policy is broken."""
    world.policy.write_text("domain: [\n")


async def hupped(world: World, _: float) -> None:
    """SIGHUP comes."""
    world.pid(signal.SIGHUP)


MEMORY: Final = "64mb"
"""Of Redis; it evicts."""

FAULTS: Final[tuple[Callable[[World, float], Awaitable[None]], ...]] = (
    slow, held, unreachable, sliced, cut, reset, killed, hung, forgetful, cleared, full, reloaded, spoiled, hupped,
)  # fmt: skip


async def go_wrong(world: World, until: Callable[[], bool]) -> None:
    """Have one fault after the other, each once in a round, for 0.2 to 1.5 s, and some quiet after it."""
    while not until():
        for fault in world.draw.sample(FAULTS, len(FAULTS)):
            if until():
                return
            await fault(world, world.draw.uniform(0.2, 1.5))
            world.happened[fault.__name__] += 1
            await asyncio.sleep(world.draw.uniform(0.1, 0.6))
