"""Policies as they come into force."""

import asyncio
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from ratelimitd.app import policies as module
from ratelimitd.app.changed import RESTARTED_SHOWN, SHOWN, changed
from ratelimitd.app.engine import build
from ratelimitd.app.policies import LINES, Policies, source_of
from ratelimitd.limiter import GONE_SERIES, LimitRequest, Planner
from ratelimitd.policy import Descriptor, FixedWindowKeys, Where, assemble, where_of, with_keys
from ratelimitd.policy_file import examine, parse
from ratelimitd.settings import load
from tests.turning import turning

pytestmark = pytest.mark.process

ONE = """\
domain: d
descriptors: [{key: a, rate_limit: {unit: hour, requests_per_unit: 1}, on_store_failure: allow}]
"""
TWO = """\
domain: d
descriptors:
  - {key: a, rate_limit: {unit: hour, requests_per_unit: 1}}
  - {key: b, rate_limit: {unit: hour, requests_per_unit: 1}}
"""


def files(path, env=None):
    """Policies of these paths, and their engine."""
    settings = load(env or {}, {})
    parts = build(settings)
    return Policies(source_of(settings, (str(path),)), settings, parts), parts


async def test_facts_change_in_the_same_step_as_the_planner(tmp_path):
    """Nothing that runs beside a reload sees the new planner with the facts of the old policy, or the reverse."""
    path, settings = tmp_path / "policy.yaml", load({}, {})
    parts = build(settings)
    path.write_text(ONE)
    policies = Policies(source_of(settings, (str(path),)), settings, parts)
    await policies.reload()
    seen: list[tuple[Planner | None, int, int, bool]] = []

    async def look():
        while True:
            facts = policies.active
            seen.append((parts.engine.planner, facts.generation, facts.limits, facts.needs_store))
            await asyncio.sleep(0)

    looking = asyncio.create_task(look())
    await asyncio.sleep(0)
    old = parts.engine.planner
    path.write_text(TWO)
    await policies.reload()
    looking.cancel()
    with suppress(asyncio.CancelledError):
        await looking
    assert set(seen) == {(old, 1, 1, False), (parts.engine.planner, 2, 2, True)}


async def test_a_refused_policy_changes_no_fact_of_the_one_in_force(tmp_path):
    """Its errors stand beside them, until a good one comes."""
    path, settings = tmp_path / "policy.yaml", load({}, {})
    policies = Policies(source_of(settings, (str(path),)), settings, build(settings))
    path.write_text(ONE)
    await policies.reload()
    good = policies.active
    path.write_text("domain: [")
    await policies.reload()
    assert policies.active.refused
    assert policies.active._replace(refused=()) == good
    path.write_text(ONE)
    await policies.reload()
    assert policies.active.refused == ()
    assert policies.active.generation == 2


VANISHING = {
    "an emptied folder": lambda file: file.unlink(),
    "a renamed folder": lambda file: file.parent.rename(file.parent.parent / "other"),
    "a file that is hidden": lambda file: file.rename(file.parent / ".policy.yaml"),
}


@pytest.mark.parametrize("vanish", VANISHING.values(), ids=VANISHING.keys())
@pytest.mark.scenario("a policy in a ConfigMap")
async def test_a_policy_whose_files_vanish_stays(tmp_path, vanish):
    """No file is no operator's word: the limits hold, the read is refused, and files that come back take force."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "policy.yaml").write_text(ONE)
    policies, parts = files(folder)
    await policies.reload()
    good, planner = policies.active, parts.engine.planner
    vanish(folder / "policy.yaml")
    await policies.reload()
    assert (parts.engine.planner, policies.active._replace(refused=())) == (planner, good)
    assert str(tmp_path) in policies.active.refused[0]
    folder.mkdir(exist_ok=True)
    (folder / "policy.yaml").write_text(TWO)
    await policies.reload()
    assert (policies.active.limits, policies.active.refused) == (2, ())


async def test_a_gateway_whose_policies_vanish_keeps_them(tmp_path):
    """An emptied folder that the gateway file names is the same case."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "policy.yaml").write_text(ONE)
    (tmp_path / "gateway.yaml").write_text("policies: policies\n")
    policies, _ = files(tmp_path / "gateway.yaml")
    await policies.reload()
    (tmp_path / "policies" / "policy.yaml").unlink()
    await policies.reload()
    assert (policies.active.limits, "no policy file is left" in policies.active.refused[0]) == (1, True)


async def test_a_file_without_descriptors_lifts_all_limits(tmp_path):
    """A file that is there is the operator's word, so it takes force, with a warning."""
    (tmp_path / "policy.yaml").write_text(ONE)
    policies, _ = files(tmp_path)
    await policies.reload()
    (tmp_path / "policy.yaml").write_text("domain: d\n")
    await policies.reload()
    assert (policies.active.limits, policies.active.refused) == (0, ())
    assert "domain 'd' has no limit" in policies.active.warnings[0]
    assert "removed d.a: 1 per hour, algorithm fixed_window, on_store_failure allow" in policies.active.changed.first


async def test_an_empty_folder_at_the_start_is_a_policy(tmp_path):
    """As upstream has it: there is nothing to keep yet, and what comes later takes force."""
    policies, _ = files(tmp_path)
    for _ in range(2):
        await policies.reload()
        assert (policies.active.refused, "no policy found" in policies.active.warnings[0]) == ((), True)
    (tmp_path / "policy.yaml").write_text(ONE)
    await policies.reload()
    assert (policies.active.generation, policies.active.limits) == (3, 1)


async def test_a_refused_policy_is_told_again_and_again(tmp_path, monkeypatch):
    """Until a good one comes; the line says what stays, and why."""
    monkeypatch.setattr(module, "REMIND", 0.001)
    path = tmp_path / "policy.yaml"
    path.write_text("domain: [")
    policies, _ = files(path)

    async def told(logs, times):
        async with asyncio.timeout(20):
            while sum(line["event"] == "policy still rejected" for line in logs) < times:
                await asyncio.sleep(0)
        return [line for line in logs if line["event"] == "policy still rejected"][-1]

    reminding = asyncio.create_task(policies.remind())
    await policies.reload()
    with capture_logs() as logs:
        assert (await told(logs, 2))["note"] == "no policy is active"
    path.write_text(ONE)
    await policies.reload()
    path.unlink()
    await policies.reload()
    with capture_logs() as logs:
        line = await told(logs, 2)
        assert line["note"] == "the previous policy stays active"
        assert "No such file" in line["error"]
    path.write_text(ONE)
    await policies.reload()
    with capture_logs() as logs:
        for _ in range(20):
            await asyncio.sleep(0.001)
    assert logs == []
    reminding.cancel()


async def test_a_reload_says_what_it_changed(tmp_path):
    """In the log and in the facts: the number of changes, and the first of them in words."""
    path = tmp_path / "policy.yaml"
    path.write_text(ONE)
    policies, _ = files(path)
    with capture_logs() as logs:
        await policies.reload()
        path.write_text(TWO.replace("key: a, rate_limit: {unit: hour", "key: a, rate_limit: {unit: day"))
        await policies.reload()
    words = (
        "lowered d.a: 1 per hour -> 1 per day",
        "changed d.a: on_store_failure allow -> error",
        "added d.b: 1 per hour, algorithm fixed_window",
    )
    first, second = (line for line in logs if line["event"] == "policy loaded")
    assert policies.active.changed == (3, words, 0, ())
    assert (second["changes"], second["first_changes"]) == (3, words)
    assert "changes" not in first
    assert "restarts" not in second


async def test_lines_that_move_are_no_change_of_the_limits(tmp_path):
    """A reload after a comment was added tells no change and keeps the counts; each limit has its new line."""
    path = tmp_path / "policy.yaml"
    policies, parts = files(path)
    asked = LimitRequest(b"d", (Descriptor(((b"b", b"x"),)),))
    keys = []
    for above, line in (("", 4), ("# a comment\n\n", 6)):
        path.write_text(above + TWO)
        await policies.reload()
        (charge,) = parts.engine.planner.plan(asked).charges
        keys.append((charge.key, id(charge.rule.tally)))
        policy = policies.policy
        node = policy.domains[b"d"].root.children[b"b"]
        assert where_of(policy, node, 0) == Where(str(path), line, resource=False)
    assert (policies.active.generation, policies.active.changed.total) == (2, 0)
    assert keys[0] == keys[1]


async def test_limits_that_count_anew_are_counted_and_the_first_are_named():
    """A change of 150 keys is a line of a log too."""
    limit = "rate_limit: {unit: day, requests_per_unit: 1}"
    lines = "".join(f"- {{key: k{number}, {limit}}}\n" for number in range(150))
    rows = examine([("p.yaml", f"domain: d\ndescriptors:\n{lines}".encode())]).rows
    found = await changed(assemble(rows), assemble(with_keys(rows, FixedWindowKeys.SAFE)))
    assert (found.restarts, found.restarted) == (150, tuple(f"d.k{number}" for number in range(RESTARTED_SHOWN)))


@pytest.mark.scenario("the event loop is blocked")
async def test_a_large_change_is_compared_in_turns(monkeypatch):
    """The loop runs in between, and the words are bounded while the number is not."""
    monkeypatch.setattr("ratelimitd.app.changed.TURN", 0)

    def policy(requests):
        limit = f"rate_limit: {{unit: day, requests_per_unit: {requests}}}"
        lines = "".join(f"- {{key: k{number}, {limit}}}\n" for number in range(2_000))
        return parse([("p.yaml", f"domain: d\ndescriptors:\n{lines}".encode())])

    old, new = policy(1), policy(2)
    with turning() as turns:
        found = await changed(old, new)
    assert turns.count > 2_000
    assert (found.total, len(found.first)) == (2_000, SHOWN)


@pytest.mark.parametrize(
    ("env", "warned"),
    [({}, False), ({"REDIS_URL": "localhost:1"}, True), ({"REDIS_URL": "localhost:1", "IDENTITY_SECRET": "s"}, False)],
)
async def test_a_missing_secret_is_told_where_others_read_the_names(tmp_path, env, warned):
    """Counters in memory have names that no one can read, so the warning is for those in Redis."""
    (tmp_path / "policy.yaml").write_text(
        "domain: d\nidentity: {key: k, tiers: {gold: [a]}}\n"
        "descriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 1}}]\n"
    )
    policies, _ = files(tmp_path, env)
    with capture_logs() as logs:
        await policies.reload()
    assert any("IDENTITY_SECRET is not set" in line["event"] for line in logs) is warned


async def test_a_reload_forgets_what_was_kept_of_limits_that_are_gone(tmp_path):
    """Of those whose costs come afterwards: the policy of a fleet's tenants would grow the process with each reload."""
    path = tmp_path / "policy.yaml"
    path.write_text(ONE.replace("requests_per_unit: 1", "requests_per_unit: 9, algorithm: gcra, reserve: {}"))
    policies, parts = files(path)
    await policies.reload()
    parts.engine.ask(b"", lambda _: LimitRequest(b"d", (Descriptor(((b"a", b"x"),), hits=0),)))
    assert [name for name, _ in parts.post_paid.amounts()] == ["d.a"]
    path.write_text(ONE)
    await policies.reload()
    assert list(parts.post_paid.amounts()) == []


async def test_a_reload_lets_the_series_of_gone_limits_go(tmp_path):
    """All but the last GONE_SERIES; those of the policy stay, whether a request asks for them or not."""
    path = tmp_path / "policy.yaml"
    policies, parts = files(path)
    path.write_text(ONE)
    await policies.reload()
    for key in ("a", *(f"gone{number}" for number in range(GONE_SERIES + 5))):
        parts.tallies.of(("d", key), "", from_request=False)
    path.write_text(TWO)
    await policies.reload()
    assert (parts.tallies.let_go, len(parts.tallies)) == (5, GONE_SERIES + 1)
    assert ("d", "a") in [tally.stat_key for tally in parts.tallies]


@pytest.mark.scenario("the event loop is blocked")
async def test_the_lines_of_a_load_give_way(tmp_path):
    """Those of its errors and of its warnings: a hundred lines take longer than the event loop may be held."""
    path = tmp_path / "policy.yaml"
    policies, _ = files(path)
    grown = []
    with capture_logs() as logs:

        async def look():
            seen = 0
            while True:
                grown.append(len(logs) - seen)
                seen = len(logs)
                await asyncio.sleep(0)

        looking = asyncio.create_task(look())
        for unit, told in (("eon", 100), ("hour", 20)):
            limits = (f"- {{key: k{n}, key: k{n}, rate_limit: {{unit: {unit}}}}}\n" for n in range(100))
            path.write_text(f"domain: d\ndescriptors:\n{''.join(limits)}")
            before = len(logs)
            await policies.reload()
            await asyncio.sleep(0)
            assert len(logs) - before > told
        looking.cancel()
    assert max(grown) <= LINES + 1
