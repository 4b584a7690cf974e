"""What doctor says of PEERS and PEER_ADDR."""

import pytest

from ratelimitd.doctor import ports, replicas
from ratelimitd.doctor.finding import Level
from testkit.redis_server import free_port
from tests.doctor.doctoring import case, levels, looked, only

TOKEN = {"ADMIN_TOKEN": "0123456789abcdef"}


async def test_without_replicas_there_is_nothing_to_say():
    """Most services are alone."""
    assert await looked(replicas.check, case()) == []


async def test_names_are_looked_up():
    """Each as a service would; the number of addresses is that of the replicas that it would ask."""
    env = {**TOKEN, "PEERS": "127.0.0.1:7,no-such-name.invalid", "PEER_ADDR": "localhost:0"}
    found = await looked(replicas.check, case(**env))
    only(found, "127.0.0.1 has 1 address, asked at port 7", Level.OK)
    assert "headless" in only(found, "no-such-name.invalid cannot be resolved", Level.BAD).change


async def test_one_that_asks_and_does_not_answer_is_told():
    """The others would show it as one that refuses."""
    found = await looked(replicas.check, case(**TOKEN, PEERS="127.0.0.1"))
    only(found, "asks others and answers none", Level.WARN)


@pytest.mark.parametrize(("host", "told"), [("", {Level.WARN}), ("localhost", set())])
async def test_a_token_in_plain_text_is_told(host, told):
    """Unless it does not leave this host."""
    assert levels(await looked(replicas.check, case(**TOKEN, PEER_ADDR=f"{host}:6071"))) == told


async def test_the_port_is_one_of_those_that_are_bound():
    """Free, or not."""
    port = free_port()
    only(
        await looked(ports.check, case(**TOKEN, PEER_ADDR=f"127.0.0.1:{port}")),
        f"peer 127.0.0.1:{port} is free",
        Level.OK,
    )
