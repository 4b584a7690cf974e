"""How tests run ``ratelimitd doctor``, or one of its checks, and what they look for."""

from collections.abc import AsyncIterator, Callable

from click.testing import CliRunner

from ratelimitd.cli import main
from ratelimitd.doctor.finding import Finding, Level
from ratelimitd.doctor.target import CheckTarget
from ratelimitd.settings import load
from testkit.environment import STORE_BUDGET

GOOD = "domain: shop\ndescriptors:\n  - key: user\n    rate_limit: {unit: second, requests_per_unit: 5}\n"
LOCAL = GOOD + "    on_store_failure: local\n"
FREE = {
    **dict.fromkeys(("HOST", "GRPC_HOST", "DEBUG_HOST"), "127.0.0.1"),
    **dict.fromkeys(("PORT", "GRPC_PORT", "DEBUG_PORT"), "0"),
    "STORE_BUDGET": STORE_BUDGET,
}
PATIENT = {"REDIS_TIMEOUT": "10s"}
"""A test machine may be slower than any budget."""

RIGHTS = (
    "+evalsha +script|load +time +set +incrby +get +pttl +pexpire +del +zadd +zcard +zcount +zrange +zremrangebyrank"
)

Check = Callable[[CheckTarget], AsyncIterator[Finding]]


def case(*config, with_service=False, **env):
    return CheckTarget(load({**FREE, **(PATIENT if "REDIS_URL" in env else {}), **env}, {}), config, None, with_service)


async def looked(check, at):
    """What a check finds; whatever is not well says what to change."""
    found = [finding async for finding in check(at)]
    assert all(bool(finding.change) == (finding.level is not Level.OK) for finding in found), found
    return found


def only(found, words, level):
    """The one finding with these words; it is of this level."""
    (finding,) = (each for each in found if words in each.found)
    assert finding.level is level, finding
    return finding


def levels(found):
    return {finding.level for finding in found}


def doctor(*words, **env):
    return CliRunner(env={**FREE, **(PATIENT if "REDIS_URL" in env else {}), **env}).invoke(main, ["doctor", *words])
