"""`make demo-llm` as a newcomer meets it: every tenant's budget is used and shown, and Ctrl-C ends all of it."""

import json
import re
from io import StringIO

import aiohttp
import pytest
import yaml
from rich.console import Console

from examples.demo.stage import ENVOY, Ports
from examples.llm.__main__ import about
from examples.llm.budgets import Budget
from examples.llm.stage import AI, POLICY, STABLE, bootstrap
from examples.llm.traffic import TENANTS, Tally
from examples.llm.view import bar, over_run, screen
from tests.running_scripts import script
from tests.service import service

NEEDS_ENVOY = [
    pytest.mark.envoy,
    pytest.mark.process,
    pytest.mark.slow,
    pytest.mark.skipif(not ENVOY.exists(), reason="Envoy is not installed"),
]
ROW = re.compile(r"^│ +(\w+) .* \d+% +\+(\d+)% +(\d+) +(\d+) +(\d+) +(\d+) +│$", re.MULTILINE)
"""Tenant, then after what is held: over-run, answers, denied, cut, failed."""


def marked(test):
    for mark in NEEDS_ENVOY:
        test = mark(test)
    return test


@marked
@pytest.mark.parametrize("filters", [[], ["--ai-filter"]], ids=["stable", "ai"])
async def test_the_demo_uses_each_budget_and_prints_its_last_screen(filters):
    """Through a real Envoy with each filter set: answers of every tenant end, some are denied, and none fails."""
    async with script("demo-llm", "--port", "0", "--seconds", "8", "--no-view", *filters) as demo:
        assert await demo.ended() == 0
    rows = {name: list(map(int, counts)) for name, *counts in ROW.findall(demo.said)}
    assert list(rows) == [tenant.name for tenant in TENANTS], demo.said
    assert all(answers > 0 and failed == 0 for _, answers, _, _, failed in rows.values()), demo.said
    assert sum(denied for _, _, denied, _, _ in rows.values()) > 0, demo.said


@marked
async def test_ctrl_c_ends_the_demo():
    """Without --seconds it runs until Ctrl-C, which is no error, and shows how far it came."""
    async with script("demo-llm", "--port", "0", "--no-view") as demo:
        await demo.printed("the callers have begun")
        assert await demo.ctrl_c() == 0
        assert "Traceback" not in demo.said


@pytest.mark.parametrize("file", [STABLE, AI], ids=["stable", "ai"])
def test_the_demos_envoy_files_have_its_ports(file):
    """Each address of Envoy's files is replaced by a free one."""
    chosen = Ports(envoy=1, admin=2, upstream=3, grpc=4, http=5, debug=6)
    found = re.findall(r"port_value: (\d+)", yaml.safe_dump(bootstrap(file, chosen)))
    assert sorted(map(int, found)) == [1, 2, 3, 4]


def test_the_demos_tenants_are_those_of_its_policy():
    """Each tenant has the budget that its row shows, and is named in the policy; all others share a default."""
    policy = yaml.safe_load(POLICY.read_text())
    limited = {
        each["value"]: [budget["value"] for budget in each["descriptors"] if "unlimited" not in budget["rate_limit"]]
        for each in policy["descriptors"]
    }
    assert {tenant.name: [tenant.budget] for tenant in TENANTS} | {"*": ["tokens"]} == limited


@pytest.mark.process
async def test_tenants_that_the_demos_policy_does_not_list_share_one_budget(tmp_path):
    """What one invented name has spent is missing to the next, and to no listed tenant."""
    # A window long enough for any machine, and no holds beside what is left.
    policy = POLICY.read_text().replace("unit: second, unit_multiplier: 20", "unit: year").replace(", reserve: {}", "")
    (tmp_path / "policy.yaml").write_text(policy)
    async with service("--config", str(tmp_path / "policy.yaml")) as running:
        left = [await tokens_left(running.http, tenant, hits) for tenant, hits in (("a", 3000), ("b", 0), ("acme", 0))]
    assert left == [5000, 5000, 40000]


async def tokens_left(address, tenant, hits):
    descriptor = {
        "entries": [{"key": "tenant", "value": tenant}, {"key": "budget", "value": "tokens"}],
        "hitsAddend": hits,
    }
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"http://{address}/json", json={"domain": "llm", "descriptors": [descriptor]}) as answer,
    ):
        (status,) = json.loads(await answer.text())["statuses"]
        return status.get("limitRemaining", 0)


def test_the_demo_fits_a_terminal():
    """No line is wider than 80 characters, and none is cut, whatever is exceeded."""
    budgets = [Budget(16_000_000, 20, 160_000_000, 8_000_000, 176_000_000) for _ in TENANTS]
    terminal = Console(width=80, file=StringIO())
    tallies = [Tally(tenant) for tenant in TENANTS]
    for tally in tallies:
        tally.answers = tally.denied = 99_999
    terminal.print(screen(tallies, budgets, about(Ports(*[65_535] * 6), AI), 10_000))
    shown = terminal.file.getvalue()
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown


def test_the_demos_bar_is_half_full_at_the_budget():
    """Used, held and over-run follow each other by characters of their own; the budget ends in the middle, marked."""
    assert bar(Budget(100, 20, 50, 30, 50), width=20).plain == "█" * 5 + "░" * 3 + "  " + "│" + " " * 9
    assert bar(Budget(100, 20, 150, 0, 150), width=20).plain == "█" * 10 + "│" + "x" * 4 + " " * 5
    assert bar(Budget(100, 20, 900, 0, 900), width=20).plain == "█" * 10 + "│" + "x" * 9


def test_the_demo_shows_what_is_held_and_explains_its_columns():
    """The row has the held part of the budget as a number; the legend has each character, and the column `cut`."""
    plain = Console(width=80, file=StringIO())
    budgets = [Budget(100, 20, 50, 30, 50) for _ in TENANTS]
    plain.print(screen([Tally(tenant) for tenant in TENANTS], budgets, [], 1))
    shown = plain.file.getvalue()
    assert len(re.findall(r" 30% +\+0% ", shown)) == len(TENANTS)
    assert "█ used  ░ held  x over-run  │ budget" in shown
    assert "cut: streams that callers left" in shown


def test_the_demos_over_run_is_the_worst_so_far():
    """What a window forgets is still shown."""
    assert over_run(Budget(100, 20, 10, 0, 145)) == "+45%"
    assert over_run(Budget(100, 20, 10, 0, 90)) == "+0%"
