"""docs/operations.md: what it tells people to type works, and what it quotes is there."""

import json
import re

import aiohttp
import pytest
import redis

from ratelimitd.algorithms import ALGORITHMS
from ratelimitd.settings import ROWS
from testkit.redis_server import redis_server
from tests.k8s.manifests import ROOT
from tests.service import service

PAGE = (ROOT / "docs/operations.md").read_text()
ALONE = (ROOT / "docs/performance.md").read_text().partition("<!-- rls -->")[2].partition("<!-- end rls -->")[0]

POLICY = "domain: d\ndescriptors:\n" + "".join(
    f"  - {{key: {name}, rate_limit: {{unit: hour, requests_per_unit: 1, algorithm: {name}}}}}\n" for name in ALGORITHMS
)

QUOTED = {
    "one descriptor, one hot key": "Redis, one hot key | ratelimitd",
    "three descriptors, 100,000 keys in use": "Redis, 3 descriptors, 100,000 keys | ratelimitd",
    "one descriptor, 100,000 keys in use": "Redis, 100,000 keys | ratelimitd",
    "the same in memory, without Redis": "memory, 100,000 keys | ratelimitd",
}
"""Rows of the table of sizes, and of the benchmark's that they quote."""


async def decided(address, key):
    body = json.dumps({"domain": "d", "descriptors": [{"entries": [{"key": key, "value": "x"}]}]})
    async with aiohttp.ClientSession() as session, session.post(f"http://{address}/json", data=body) as answer:
        return str(json.loads(await answer.text()).get("overallCode"))


@pytest.mark.redis
@pytest.mark.process
async def test_the_users_rights_suffice(tmp_path):
    """With the rights that the page gives the user of Redis, and no others, every algorithm decides."""
    (rule,) = re.findall(r"^ACL SETUSER (.+)$", PAGE, re.MULTILINE)
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    (tmp_path / "auth").write_text("ratelimitd:PASSWORD")

    with redis_server() as server:
        with redis.Redis(unix_socket_path=server.address) as client:
            client.execute_command("ACL", "SETUSER", *rule.split())
        env = {"REDIS_URL": server.address, "REDIS_AUTH_FILE": str(tmp_path / "auth")}
        async with service("--config", str(policy), env=env) as running:
            await running.logged("redis is connected")
            found = {name: [await decided(running.http, name) for _ in range(2)] for name in ALGORITHMS}

    assert found == {name: ["OK", "OVER_LIMIT"] for name in ALGORITHMS}


def test_settings_exist():
    """Each variable that the page names is one the service reads."""
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z0-9]+)+)(?:=[^`]*)?`", PAGE))

    assert len(named) > 20
    assert named - {row.name for row in ROWS} == set()


def cells(page, first):
    """The cells of the only row that begins with these words."""
    (row,) = (line for line in page.splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in row.split("|")[1:-1]]


@pytest.mark.parametrize("row", QUOTED)
def test_figures_are_the_benchmarks(row):
    """Calls, CPU and memory are the medians that the benchmark has written down."""
    _, calls, cpu, memory = cells(PAGE, row)
    measured = dict(zip(cells(ALONE, "case | served by"), cells(ALONE, QUOTED[row]), strict=True))

    assert calls == measured["calls/s"].split()[0]
    assert cpu == f"{measured['CPU µs/call'].split()[0]} µs"
    assert memory == f"{float(measured['MB'].split()[0]):.0f} MB"
