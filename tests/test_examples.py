"""`make run` and `make demo` as a newcomer meets them: what is printed works, and Ctrl-C ends all of it."""

import asyncio
import re
import socket
from io import StringIO
from pathlib import Path

import aiohttp
import pytest
from rich.console import Console

from examples.demo.stage import ENVOY
from examples.demo.traffic import TIERS, Counts, Tally
from examples.demo.view import bar, history, label, screen
from ratelimitd.policy import assemble
from ratelimitd.policy_file import examine
from ratelimitd.sources import GATEWAY_ALGORITHM, GatewayFile, read_files, tiers_beside
from testkit.redis_server import free_port
from tests.running_scripts import START_SECONDS, script

PORTS = ("LISTEN_ADDR", "UPSTREAM_PORT", "GRPC_PORT", "PORT", "DEBUG_PORT")

EXPECTED = (
    {"200"},  # a premium key
    {"200", "429"},  # a standard key, more than it may
    {"200", "429"},  # the expensive endpoint
    {"200", "429"},  # no key
    {"OK"},
    {"OVER_LIMIT"},
)
"""What comes back to each of the printed commands, in their order."""

ANSWERED = re.compile(
    r'^HTTP/1\.1 (\d{3})\b|^\s*\d+ (\d{3})$|\b(\d{3}) (?=\d{3} |$)|^overall: (\w+)|"overallCode":\s*"(\w+)"',
    re.MULTILINE,
)
"""A status line, a line of `uniq -c`, one of many statuses, the last line of `ratelimitd check`, or that of /json."""


async def _ready(url):
    async with asyncio.timeout(START_SECONDS), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url) as answer:
                    if answer.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.05)


def _reachable(ports):
    """The addresses other than loopback on which somebody listens at one of these ports."""
    found = set()
    for table in ("tcp", "tcp6"):
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_ = row.split()
            address, port = local.split(":")
            listens = state == "0A" and int(port, 16) in ports
            if listens and address not in {"0100007F", "00000000000000000000000001000000"}:
                found.add(local)
    return found


async def _tried(command):
    """What came back to a command."""
    shell = await asyncio.create_subprocess_shell(command, stdout=asyncio.subprocess.PIPE)
    said = (await shell.communicate())[0].decode()
    return {next(filter(None, found)) for found in ANSWERED.findall(said)}


@pytest.mark.process
@pytest.mark.slow
async def test_make_run_prints_commands_that_work_and_ctrl_c_ends_all_of_it():
    """Each command that it prints brings what is said of it, on loopback alone; after Ctrl-C nothing listens."""
    async with script("run", ports={name: free_port() for name in PORTS}) as run:
        commands = re.findall(r"^  (curl .*|\.venv/bin/ratelimitd .*)$", await run.printed("Ctrl-C ends"), re.MULTILINE)
        await run.printed(" serving ")
        await _ready(f"http://localhost:{run.ports['UPSTREAM_PORT']}/")
        assert len(run.listening()) == len(PORTS)
        assert [await _tried(command) for command in commands] == [*EXPECTED]
        assert _reachable(run.ports.values()) == set()
        assert await run.ctrl_c() == 0
        assert run.listening() == []


@pytest.mark.process
@pytest.mark.slow
async def test_make_run_ends_whole_and_says_why_when_a_port_is_taken():
    """Nothing runs on by halves: a sample upstream that cannot listen ends the proxy too."""
    ports = {name: free_port() for name in PORTS}
    with socket.create_server(("127.0.0.1", ports["UPSTREAM_PORT"])):
        async with script("run", ports=ports) as run:
            assert await run.ended() != 0
            assert "examples/upstream.py" in run.said.splitlines()[-1]
            assert run.listening() == ["UPSTREAM_PORT"]


@pytest.mark.envoy
@pytest.mark.process
@pytest.mark.slow
@pytest.mark.skipif(not ENVOY.exists(), reason="Envoy is not installed")
async def test_the_demo_shows_each_tier_limited_and_ends_by_itself():
    """Through a real Envoy each tier has requests that pass and some that do not, and none fails."""
    async with script("demo", "--port", "0", "--seconds", "6", "--no-view") as demo:
        assert await demo.ended() == 0
    assert "failed" not in demo.said
    assert len(demo.said.splitlines()) == 6
    for tier in TIERS:
        counts = re.findall(rf"{tier.name}: (\d+) allowed, (\d+) limited", demo.said)
        allowed, limited = (sum(map(int, column)) for column in zip(*counts))
        assert 0 < allowed <= tier.limit * (6 + 1) * 1.1
        assert limited > 0


@pytest.mark.envoy
@pytest.mark.process
@pytest.mark.slow
@pytest.mark.skipif(not ENVOY.exists(), reason="Envoy is not installed")
async def test_ctrl_c_ends_the_demo():
    """Without --seconds it runs until Ctrl-C, which is no error."""
    async with script("demo", "--port", "0", "--no-view") as demo:
        await demo.printed("1 s")
        assert await demo.ctrl_c() == 0
        assert "Traceback" not in demo.said


def test_the_demos_labels_are_its_policy():
    """Limit and burst of a tier are those of the gateway file, for all of its keys together."""
    source = GatewayFile("examples/demo/gateway.yaml")
    parsed = examine(read_files(source), default_algorithm=GATEWAY_ALGORITHM, beside=tiers_beside(source))
    rates = [limit.rate for node in assemble(parsed.rows).nodes for limit in node.limits]
    expected = [(rate.quota * len(tier.keys), rate.burst * len(tier.keys)) for rate, tier in zip(rates, TIERS)]
    assert [(tier.limit, tier.burst) for tier in TIERS] == expected
    assert label(TIERS[0]).plain == "premium\n100/s, bursts of 100"


def test_the_demo_fits_a_terminal():
    """No line is wider than 80 characters, and none is cut."""
    terminal = Console(width=80, file=StringIO())
    terminal.print(screen([Tally(tier) for tier in TIERS], [("Envoy", "http://127.0.0.1:10000/")], 100))
    shown = terminal.file.getvalue()
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    assert "a burst passes it" in shown


def test_the_demos_bar_is_half_full_at_the_limit():
    """The mark is where the limit is, and what is limited comes right of what passed."""
    full = bar(Counts(allowed=100, limited=50), 100, width=20)
    assert full.plain == "█" * 10 + "│" + "█" * 4 + " " * 5
    assert bar(Counts(allowed=1_000), 100, width=20).plain == "█" * 10 + "│" + "█" * 9


def test_the_demos_history_is_the_limited_part_of_each_second():
    """Nothing limited is blank, and any at all can be seen."""
    tally = Tally(TIERS[0])
    for allowed, limited in ((9, 0), (99, 1), (0, 5)):
        for status, count in ((200, allowed), (429, limited)):
            for _ in range(count):
                tally.add(status)
        tally.tick()
    assert history(tally, width=5) == "   ▁█"
