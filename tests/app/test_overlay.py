"""A service with an overlay: what applies, what is told, and that its faults reject nothing."""

import asyncio
import json
import sys

import pytest
from structlog.testing import capture_logs

from ratelimitd.app.engine import build
from ratelimitd.app.overlay import ActiveOverlay
from ratelimitd.app.policies import Policies, source_of
from ratelimitd.app.service import RunningService
from ratelimitd.observe.health import Health
from ratelimitd.policy import PolicyError
from ratelimitd.settings import load
from ratelimitd.sources import OverlayReport, Pushed
from ratelimitd.sources import load as load_policy
from testkit.control_plane import config, control_plane, response
from tests.app.test_control_plane import TOKEN, admin, metric, serving
from tests.app.test_process import call, get, until
from tests.gateway_process import FILE, gateway, upstream
from tests.service import service

pytestmark = pytest.mark.process

POLICY = "domain: d\ndescriptors:\n- {key: user, rate_limit: {unit: hour, requests_per_unit: 1}}\n"
BUCKET = "overlay:\n- domain: '*'\n  default_algorithm: token_bucket\n- {domain: d, path: [user], burst: 3}\n"
WIDER = BUCKET.replace("burst: 3", "burst: 4")
BAD = BUCKET.replace("burst", "burts")
LIMIT = "unit=HOUR requests_per_unit=1, shadow_mode: false, quota_mode: false"
OVERLAID = f"d.user: {LIMIT} algorithm: token_bucket burst: 3 overlay: default_algorithm (line 2), burst (line 4)\n"


def limited(requests=1, **more):
    return config("d", {"key": "user", "rate_limit": {"unit": "hour", "requests_per_unit": requests}, **more})


def pushed(version, *resources):
    return Pushed("c:1", version, response(version, list(resources)).SerializeToString())


@pytest.fixture
def overlay(tmp_path):
    """Write an overlay, as an editor does that replaces the file; return its path."""

    def write(text=BUCKET):
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").rename(tmp_path / "overlay.yaml")
        return str(tmp_path / "overlay.yaml")

    return write


def xds(path, **env):
    """Policies of a control plane with this overlay, and their engine."""
    settings = load({"CONFIG_TYPE": "GRPC_XDS_SOTW", "POLICY_OVERLAY": path, **env}, {})
    parts = build(settings)
    policies = Policies(source_of(settings, ()), settings, parts)
    return policies, RunningService(settings, parts, policies, Health(), Health(), Health())


def only_limit(policies):
    (limit,) = policies.policy.nodes[1].limits
    return limit


def lines(logs, event):
    return [line for line in logs if line["event"] == event]


async def test_a_faulty_overlay_rejects_no_push(overlay):
    """Every push is accepted, the last good overlay applies to each, and the fault is logged once."""
    policies, running = xds(overlay())
    assert await running.take(pushed("1", limited())) is None
    overlay(BAD)
    with capture_logs() as logs:
        assert await running.take(pushed("2", limited(2))) is None
        assert await running.take(pushed("3", limited(3))) is None
        assert (only_limit(policies).rate.quota, only_limit(policies).rate.burst) == (3, 3)
        ((line),) = lines(logs, "overlay rejected")
        assert (line["errors"], line["note"]) == (1, "the last good overlay stays")
        assert "did you mean 'burst'? (line 4)" in running.notes()[0][1]
        overlay(WIDER)
        await running.reload()
        assert only_limit(policies).rate.burst == 4
        assert (len(lines(logs, "overlay rejected")), len(lines(logs, "overlay accepted"))) == (1, 1)
    assert running.notes() == []


async def test_a_rejected_push_leaves_the_overlay_and_a_reload_applies_it_to_what_was_accepted(overlay):
    """The version is the accepted one's, the rejection is still told, and what comes next is compared with it."""
    policies, running = xds(overlay())
    await running.take(pushed("1", limited()))
    policies.renamed("1b")
    assert await running.take(pushed("2", config("d", {"key": ""}))) is not None
    refused = policies.active.refused
    overlay(WIDER)
    await running.reload()
    assert only_limit(policies).rate.burst == 4
    assert (policies.active.version, policies.active.refused) == ("1b", refused)
    assert refused
    assert policies.active.changed.first == ("raised d.user: burst 3 -> 4",)


async def test_a_version_that_is_named_during_a_reload_stays(overlay):
    """A control plane may give the policy in force another number while its overlay is applied."""
    policies, running = xds(overlay())
    await running.take(pushed("1", limited()))
    reloading = asyncio.create_task(running.reload())
    await asyncio.sleep(0)
    policies.renamed("1b")
    await reloading
    assert (policies.active.version, policies.active.generation) == ("1b", 2)
    await running.reload()
    assert policies.active.version == "1b"


async def test_a_reload_that_fails_is_told_until_one_succeeds(overlay, monkeypatch):
    """Also after an ACK of the policy in force. What was pushed and rejected before is then told again."""
    policies, running = xds(overlay())
    await running.take(pushed("1", limited()))
    for refused in ((), ("d: descriptor has empty key",)):
        if refused:
            await running.take(pushed("2", config("d", {"key": ""})))
        with monkeypatch.context() as patched:
            patched.setattr(sys, "executable", "/bin/false")
            await running.reload()
        assert "parser process exited" in policies.active.refused[0]
        if not refused:
            policies.renamed("1b")
            assert "parser process exited" in policies.active.refused[0]
        await running.reload()
        assert policies.active.refused == refused
    await running.take(pushed("3", limited(3)))
    await running.reload()
    assert policies.active.refused == ()


async def test_a_fault_is_told_while_the_policy_is_rejected_too(overlay):
    """And so is its end."""
    policies, running = xds(overlay())
    await running.take(pushed("1", limited()))
    for text, faulty in ((BAD, True), (WIDER, False)):
        overlay(text)
        await running.take(pushed("2", config("d", {"key": ""})))
        assert bool(policies.overlay.faults) == faulty
    assert (only_limit(policies).rate.burst, policies.overlay.applied.entries[1].said) == (3, {"burst": "3"})


async def test_a_push_and_a_reload_at_once_end_with_the_push(overlay, monkeypatch):
    """A reload of the overlay never brings back the policy before: they are loaded one after the other."""
    policies, running = xds(overlay())
    await running.take(pushed("1", limited()))
    loading = 0

    async def one(*source, **options):
        nonlocal loading
        loading += 1
        assert loading == 1
        found = await load_policy(*source, **options)
        loading -= 1
        return found

    monkeypatch.setattr("ratelimitd.app.policies.load", one)
    await asyncio.gather(running.reload(), running.take(pushed("2", limited(2))), running.reload())
    assert (policies.active.version, only_limit(policies).rate.quota) == ("2", 2)
    assert policies.active.generation == 4


async def test_before_the_first_push_only_the_overlay_is_read(overlay):
    """There is no policy then, and none is made up."""
    policies, running = xds(overlay(BAD), POLICY_OVERLAY_REQUIRED="true", FORCE_START_WITHOUT_INITIAL_CONFIG="true")
    running.update_health()
    assert running.readiness.failing() == [("overlay", "no overlay is in force: it has not been read yet")]
    await running.look()
    ((component, why),) = running.readiness.failing()
    assert (component, "burts" in why) == ("overlay", True)
    assert (policies.policy, policies.active.generation) == (None, 0)
    overlay()
    await running.look()
    assert running.readiness.failing() != []
    await running.reload()
    assert (running.readiness.failing(), policies.policy) == ([], None)
    assert running.health.failing() == running.serving.failing() == []


def test_a_fault_is_logged_once_and_each_other_one_again():
    """Whatever number of loads find it."""
    active = ActiveOverlay("o", required=False)
    with capture_logs() as logs:
        for text in ("a", "a", "b", "", "", "b"):
            faults = (PolicyError("o", 1, text),) if text else ()
            active.found(OverlayReport(None, "", faults))
    assert [line["event"] for line in logs if line["event"].startswith("overlay")] == [
        *("overlay rejected", "overlay rejected", "overlay accepted", "overlay rejected"),
    ]
    assert lines(logs, "overlay rejected")[0]["note"] == "no overlay applies"


async def test_limits_of_a_controller_get_a_token_bucket(overlay):
    """As Envoy Gateway writes them: a route, then a rule. The burst passes at once, and what applies is shown."""
    rule = {"key": "rule-0-match-0", "value": "rule-0-match-0", "rate_limit": {"unit": "hour", "requests_per_unit": 1}}
    route = {"key": "user", "value": "x", "descriptors": [rule], "rate_limit": {"unit": "hour", "requests_per_unit": 1}}
    path = overlay(
        "overlay:\n- domain: d\n  path: ['**', 'rule-*-match-*']\n  algorithm: token_bucket\n  burst: 5\n"
        "- domain: d\n  path: [user]\n  algorithm: token_bucket\n  burst: 3\n"
    )
    async with control_plane() as plane:
        plane.push("1", config("d", route))
        async with serving(plane.address, POLICY_OVERLAY=path) as running:
            await plane.acked("1")
            assert [await call(running.grpc) for _ in range(4)] == ["OK", "OK", "OK", "OVER_LIMIT"]
            shown = (await get(running.debug, "/rlconfig"))[1].splitlines()
            assert shown[0].endswith(" algorithm: token_bucket burst: 5 overlay: algorithm (line 2), burst (line 2)")
            told = (await admin(running))["overlay"]
            assert (told["path"], told["faults"], len(told["version"])) == (path, [], 64)
            assert [(entry["domain"], entry["path"], entry["limits"], entry["left"]) for entry in told["entries"]] == [
                ("d", ["**", "rule-*-match-*"], 1, 0),
                ("d", ["user"], 1, 0),
            ]
            assert told["entries"][0]["said"] == {"algorithm": "token_bucket", "burst": "5"}
            headers = {"Authorization": f"Bearer {TOKEN}"}
            status, text = await get(running.debug, "/admin/explain?domain=d&descriptor=user=x", headers=headers)
            (limit,) = json.loads(text)["descriptors"][0]["limits"]
            assert (status, limit.endswith("overlay: algorithm (line 6), burst (line 6)")) == (200, True)


@pytest.mark.scenario("an overlay is missing, faulty, or changes while calls are in flight")
async def test_an_overlay_changes_under_traffic_without_a_failed_call(overlay):
    """The control plane says nothing meanwhile: no call fails, counters stay, and a broken one is told."""
    async with control_plane() as plane:
        plane.push("1", limited())
        async with serving(plane.address, POLICY_OVERLAY=overlay()) as running:
            await plane.acked("1")
            assert [await call(running.grpc) for _ in range(4)] == ["OK", "OK", "OK", "OVER_LIMIT"]
            answers, ending = [], asyncio.Event()

            async def traffic():
                while not ending.is_set():
                    answers.append(await call(running.grpc, "other"))

            calling = asyncio.create_task(traffic())

            async def rlconfig():
                return (await get(running.debug, "/rlconfig"))[1]

            overlay(WIDER)
            await until(rlconfig, OVERLAID.replace("burst: 3", "burst: 4"))
            assert await call(running.grpc) == "OK"  # three of four are used
            assert await call(running.grpc) == "OVER_LIMIT"
            overlay(BAD)
            await running.logged("overlay rejected")
            assert await metric(running, "ratelimitd_overlay_refused") == ["ratelimitd_overlay_refused 1"]
            status, ready = await get(running.http, "/readyz")
            assert (status, "\noverlay: " in f"\n{ready}", "burts" in ready) == (200, True, True)
            (fault,) = (await admin(running))["overlay"]["faults"]
            assert "did you mean 'burst'?" in fault
            plane.push("2", limited(), config("e"))
            await plane.acked("2")
            assert await rlconfig() == OVERLAID.replace("burst: 3", "burst: 4")
            assert not plane.nacks
            overlay("overlay: []")
            await running.logged("overlay accepted")
            await until(rlconfig, f"d.user: {LIMIT}\n")
            assert await metric(running, "ratelimitd_overlay_refused") == ["ratelimitd_overlay_refused 0"]
            assert len(plane.requests) == 3
            ending.set()
            await calling
            assert set(answers) <= {"OK", "OVER_LIMIT"}
            assert answers


@pytest.mark.scenario("an overlay is missing, faulty, or changes while calls are in flight")
@pytest.mark.parametrize("text", [None, BAD], ids=["missing", "bad"])
@pytest.mark.parametrize(("required", "ready"), [("false", 200), ("true", 503)])
async def test_a_start_without_a_good_overlay(tmp_path, overlay, text, required, ready):
    """It serves without it; POLICY_OVERLAY_REQUIRED alone makes it unready, until one is there."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    path = str(tmp_path / "overlay.yaml") if text is None else overlay(text)
    env = {"POLICY_OVERLAY_REQUIRED": required}
    async with service("--config", str(tmp_path / "policy.yaml"), "--overlay", path, env=env) as running:
        assert [await call(running.grpc) for _ in range(2)] == ["OK", "OVER_LIMIT"]
        status, body = await get(running.http, "/readyz")
        assert (status, "overlay: " in body, path in body) == (ready, True, True)
        assert (await get(running.http, "/healthcheck"))[0] == 200
        overlay()

        async def status_of():
            return (await get(running.http, "/readyz"))[0], (await get(running.debug, "/rlconfig"))[1]

        await until(status_of, (200, OVERLAID))


@pytest.mark.parametrize(("required", "ready"), [("false", 200), ("true", 503)])
async def test_a_required_overlay_beside_a_control_plane_that_is_silent(overlay, required, ready):
    """It is read without a policy, so /readyz says what is wrong before the first push, and nothing once it is good."""
    env = {"POLICY_OVERLAY_REQUIRED": required, "FORCE_START_WITHOUT_INITIAL_CONFIG": "true"}
    async with control_plane() as plane, serving(plane.address, POLICY_OVERLAY=overlay(BAD), **env) as running:
        await running.logged("overlay rejected")

        async def told():
            status, body = await get(running.http, "/readyz")
            return status, "burts" in body

        await until(told, (ready, True))
        overlay()
        await until(told, (200, False))
        plane.push("1", limited())
        await plane.acked("1")
        assert (await get(running.debug, "/rlconfig"))[1] == OVERLAID


async def test_sighup_reads_the_overlay_beside_a_control_plane(overlay):
    """Changed or not, as it does the files of a policy; the control plane sends nothing new."""
    async with control_plane() as plane, serving(plane.address, POLICY_OVERLAY=overlay()) as running:
        plane.push("1", limited())
        await plane.acked("1")
        running.process.send_signal(1)
        generation = "ratelimitd_policy_generation"
        await until(lambda: metric(running, generation), [f"{generation} 2"])
        await plane.until(lambda plane: len(plane.streams) == 2)


async def test_an_overlay_is_for_the_policies_of_a_proxy_too(tmp_path, overlay):
    """Those of its gateway file."""
    path = overlay("overlay:\n- {domain: d, path: [all=api], burst: 3}\n")
    async with upstream() as (url, _):
        (tmp_path / "gateway.yaml").write_text(FILE.format(url=url, limit=1, policy="allow"))
        async with gateway(str(tmp_path / "gateway.yaml"), "--overlay", path) as running:
            found = [(await get(running.proxy, "/api/"))[0] for _ in range(4)]
            assert found == [200, 200, 200, 429]


async def test_without_an_overlay_nothing_is_told(tmp_path):
    """No metric, no key of the page, no line."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    async with service("--config", str(tmp_path / "policy.yaml"), env={"ADMIN_TOKEN": TOKEN}) as running:
        assert await metric(running, "ratelimitd_overlay") == []
        assert "overlay" not in await admin(running)
        assert (await get(running.debug, "/rlconfig"))[1] == f"d.user: {LIMIT}\n"
        assert not any("overlay" in key for line in running.log for key in line)
