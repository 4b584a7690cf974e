"""Whether several servers share the keys behind one address. No greeting says so, therefore it is tried.

A proxy that spreads keys over servers sends a script call to the server of its first key. If limits shared calls there,
each server would count for itself, and each limit would be granted several times.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import hiredis

from ratelimitd.algorithms import SECOND, Decision, make_rate
from ratelimitd.limiter import Ask, Charge, Plan, Rule
from ratelimitd.policy import Limit

from .call import INDEPENDENT, Packed, Selection
from .connection import RedisConnection
from .errors import CROSSSLOT, NOSCRIPT
from .opening import execute
from .packing import pack
from .replies import unpack
from .script import Script

KEYS: Final = 32
"""Keys of a trial: with two equal servers, all are on the same one once in two thousand million trials."""

WINDOW: Final = 5
TRIED: Final = Rule(Limit(make_rate("token_bucket", 1, WINDOW * SECOND)), binding=False)
"""The limit of each key: a key that was left behind expires after its window, and a second of reserve."""


class Sharding(NamedTuple):
    """The result of a trial.

    Attributes:
        sharded: whether several servers share the keys; None: unknown.
        why: what showed it, or why it is unknown.
    """

    sharded: bool | None
    why: str = ""


async def try_sharding(
    connection: RedisConnection,
    script: Script,
    prefix: bytes,
    timeout: float,  # noqa: ASYNC109 -- it becomes a result
) -> Sharding:
    """Charge keys in one script call, and give each charge back in a call of its own, which must find it.

    Only a charge that is not found, or CROSSSLOT, shows several servers; any other error leaves it unknown. Raises
    RedisConnectionError.
    """
    name = b"%brl1:trial:%016x:" % (prefix, random.getrandbits(64))
    charges = [Charge(TRIED, b"%b%d" % (name, number)) for number in range(KEYS)]
    together = Ask(Plan(tuple(charges)), [1] * KEYS)
    alone = [Ask(Plan((charge,)), [-1]) for charge in charges]
    timeout = min(timeout, WINDOW / 2)  # a charge that has drained meanwhile would look like a missing one
    try:
        async with asyncio.timeout(timeout):
            problem = next(iter(await _problems(connection, script, [together])), "")
            if not problem:
                problem = next(iter(await _problems(connection, script, alone)), "")
    except TimeoutError:
        problem = f"no reply within {timeout:g} s"
    if CROSSSLOT in problem:
        return Sharding(sharded=True, why=problem)
    missing = sum(not outcome.before for ask in alone for outcome in ask.outcomes if isinstance(outcome, Decision))
    if missing:
        return Sharding(sharded=True, why=f"{missing} of {KEYS} keys of one script call were set on another server")
    return Sharding(None, problem) if problem else Sharding(sharded=False)


async def _problems(connection: RedisConnection, script: Script, asks: Sequence[Ask]) -> list[str]:
    """Send each ask as one script call, set its outcomes, and return the errors of all."""
    now = time.time_ns() // 1000
    sent = [pack([Selection(ask, range(len(ask.costs)), INDEPENDENT)], now) for ask in asks]
    calls = [packed.words for packed in sent]
    replies = await execute(connection, [("EVALSHA", script.sha, *call) for call in calls])
    # A proxy need not send SCRIPT LOAD to every server.
    lacking = [index for index, reply in enumerate(replies) if _error(reply).startswith(NOSCRIPT)]
    if lacking:
        again = await execute(connection, [("EVAL", script.text, *calls[index]) for index in lacking])
        for index, reply in zip(lacking, again, strict=True):
            replies[index] = reply
    problems = [_applied(reply, packed) for reply, packed in zip(replies, sent, strict=True)]
    return list(filter(None, problems))


def _error(reply: Any) -> str:
    return str(reply) if isinstance(reply, hiredis.ReplyError) else ""


def _applied(reply: Any, packed: Packed) -> str:
    """Set the outcomes in a reply. Return the first error in it, or empty."""
    if isinstance(reply, hiredis.ReplyError):
        return str(reply)
    try:
        _, failures = unpack(reply, packed)
    except (TypeError, ValueError) as error:
        return f"unexpected reply to the script: {error}"
    return next((failure.message for failure, _ in failures), "")
