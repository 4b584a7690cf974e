"""``ratelimitd top --all`` of three real replicas on one Redis."""

import json
import sys
from contextlib import closing

import pytest

from testkit.redis_server import redis_server
from tests.app.test_peers import TOKEN, eventually, hit, states, three
from tests.app.test_peers import policy as policy  # noqa: PLC0414 -- a fixture
from tests.terminal.serving import Terminal, run

pytestmark = [pytest.mark.process, pytest.mark.redis]


async def test_replicas_are_shown_together(policy):
    """Hits are those of all three, the counter is that of Redis, and one that ended is named in a line of its own."""
    with redis_server() as server:
        async with three(policy, REDIS_URL=server.address) as replicas:
            for each in replicas:
                await each.logged("redis is connected")
            assert sum([await hit(each, 3) for each in replicas]) == 4
            await eventually(
                replicas[0],
                "overview?all=1",
                lambda found: sum(found["totals"].values()) == 9 and states(found) == ["ok"] * 3,
            )
            words = ("top", "--address", replicas[1].debug, "--all", "--limit", "d.user")
            code, out, err = await run(*words, "--once", "--json", ADMIN_TOKEN=TOKEN)
            assert (code, err) == (0, "")
            found = json.loads(out)
            (detail,) = found["details"]
            assert (found["overview"]["totals"]["denied"], detail["limit"]["replicas"]) == (4, 3)
            (key,) = detail["keys"]
            assert (key["key"], key["hour"], key["used"], key["remaining"]) == (
                "user=alice",
                {"hits": 9, "denied": 4},
                5,
                0,
            )
            command = [sys.executable, "-m", "ratelimitd", *words, "--interval", "100ms"]
            with closing(Terminal(command, columns=120, ADMIN_TOKEN=TOKEN)) as terminal:
                await terminal.shows("3 replicas", "user=alice", "5 per day")
                replicas[2].process.kill()
                await replicas[2].ended()
                await terminal.shows("no numbers of replica", "user=alice")
                terminal.type("q")
                assert await terminal.ended() == 0


async def test_without_the_token_it_says_what_to_set(policy):
    """Replicas whose hashes differ cannot be merged without it."""
    async with three(policy) as replicas:
        code, _, err = await run("top", "--address", replicas[0].debug, "--all", "--once")
        assert code == 2
        assert "IDENTITY_SECRET" in err
