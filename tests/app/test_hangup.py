"""SIGHUP while a process starts."""

import signal

import pytest

from tests.service import service

pytestmark = pytest.mark.process

POLICY = "domain: d\ndescriptors: [{key: user, rate_limit: {unit: day, requests_per_unit: 100}}]\n"


@pytest.mark.parametrize("command", ["serve", "ratelimit", "proxy"])
async def test_a_reload_that_comes_too_early_does_not_end_the_start(tmp_path, command):
    """From the first line of the log on, SIGHUP ends nothing, and a later one reloads."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    arguments = [] if command == "proxy" else [str(tmp_path / "policy.yaml")]
    env = {"LISTEN_ADDR": "127.0.0.1:0"} if command == "proxy" else {}
    async with service(*arguments, command=command, env=env, ready=False) as running:
        await running.logged("")
        running.process.send_signal(signal.SIGHUP)
        await running.logged("serving")
        before = len(running.log)
        running.process.send_signal(signal.SIGHUP)
        await running.logged("policy", after=before)
