"""What each view shows."""

import pytest
from playwright.async_api import expect

from ratelimitd.admin.http import as_json

from . import documents
from .conftest import VIEWS
from .fake import LIVE, TOKEN

pytestmark = pytest.mark.browser

ADDRESS = documents.limit_id("shop.remote_address")


def panel(page, name):
    return page.get_by_role("region", name=name, exact=True)


async def test_a_newcomer_finds_what_denied_a_request(opened):
    """The overview names key, limit, why and when it passes again; the limit is a link to its own view."""
    page = await opened()
    row = panel(page, "Recent denials").get_by_role("row").nth(1)
    await expect(row).to_contain_text("remote_address=#")
    await expect(row).to_contain_text("over 5 per second, burst 10: 10 used")
    await expect(row).to_contain_text("168\u00d7")
    await expect(row).to_contain_text("in 1.4")
    await row.get_by_role("link", name="shop.remote_address").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("shop.remote_address")


async def test_a_cost_that_never_passes_is_said(opened, fake):
    """No time is counted down to for it, and "now" would be wrong."""
    fake.denied = lambda plain: documents.denials(
        plain, [(5, 0, "remote_address=203.0.113.77", 1, None, 0, False, "over_limit", 30)]
    )
    page = await opened()
    await expect(panel(page, "Recent denials").get_by_role("row").nth(1)).to_contain_text("never: cost too high")


async def test_a_service_without_a_token_says_how_it_gets_one(opened, fake):
    """There is nothing that a reader could enter."""
    fake.overview = lambda plain: {**documents.overview(plain), "token": False}
    page = await opened()
    await page.get_by_role("button", name="how to see them").click()
    await expect(page.get_by_role("dialog")).to_contain_text("export ADMIN_TOKEN_FILE=admin-token")
    await page.get_by_role("button", name="Close").click()
    await expect(page.get_by_role("dialog")).to_have_count(0)


async def test_a_hit_whose_store_failed_is_one_hit(opened, fake):
    """What on_store_failure let pass is allowed and failed, and the failing store is one line of what is wrong."""
    wrong = [{"component": "redis", "reason": "calls to Redis fail"}]
    rates = {"allowed": 7.0, "denied": 1.0, "shadowed": 0.0, "failed": 8.0}
    down, listed = changed(store={"state": "failing", "text": "connection refused"}), fake.rows
    fake.overview = lambda plain: {**down(plain), "health": {**down(plain)["health"], "failing": wrong, "notes": wrong}}
    fake.rows = [{**row, "rates": rates} for row in listed]
    page = await opened()
    await expect(page.locator("#problems .problem")).to_have_count(1)
    await expect(panel(page, "Limits that deny most").get_by_role("row").nth(1)).to_contain_text("8/s")


async def test_a_flood_of_one_key_hides_no_other(opened, fake):
    """One row a key and limit, with all its denials counted: two hundred of one key take one row."""
    flood = [(at / 10, 0, "remote_address=203.0.113.77", 1, 2.0, 10, False, "over_limit", 1) for at in range(150)]
    fake.denied = lambda plain: documents.denials(
        plain, [*flood, (60.0, 4, "user=bob", 1, 0.6, 20, False, "over_limit", 1)]
    )
    page = await opened()
    rows = panel(page, "Recent denials").get_by_role("row")
    await expect(rows).to_have_count(3)
    await expect(rows.nth(1)).to_contain_text("150\u00d7")
    await expect(rows.nth(2)).to_contain_text("shop.user")


async def test_health_names_store_breaker_and_policy(opened):
    """The words stand beside the color."""
    page = await opened()
    health = panel(page, "Health")
    for text in (
        "ready",
        "redis at redis.shop.svc:6379",
        "closed",
        "/etc/ratelimitd/policy.yaml",
        "9c1185a5c5e9",
        "generation 4",
    ):
        await expect(health).to_contain_text(text)


async def test_an_error_of_a_newer_policy_is_shown_with_its_line(opened, fake):
    """At the top, with the file and line to correct, and what stays in force."""
    fake.overview = changed(policy={"refused": ["policy.yaml:12: unit: unknown unit 'minutes'"]})
    page = await opened()
    await expect(page.locator("#problems")).to_contain_text("policy.yaml:12: unit: unknown unit 'minutes'")
    await expect(page.locator("#problems")).to_contain_text("generation 4 stays in force")


async def test_a_failing_store_is_a_problem(opened, fake):
    """With its words, and with the breaker's state."""
    fake.overview = changed(store={"state": "failing", "text": "connection refused", "breaker": "open"})
    page = await opened()
    await expect(page.locator("#problems")).to_contain_text("The store fails: connection refused")
    await expect(panel(page, "Health")).to_contain_text("open: the store is not asked")


async def test_a_draining_service_says_so(opened, fake):
    """It answers until it ends, but takes no new requests."""
    fake.overview = changed(health={"ready": False})
    page = await opened()
    await expect(page.locator("#problems")).to_contain_text("The service is draining")


async def test_without_traffic_a_command_is_shown(opened, fake):
    """The first thing that a newcomer needs."""
    fake.denied = lambda plain: []
    fake.overview = changed(totals=dict.fromkeys(("allowed", "denied", "shadowed", "failed"), 0))
    page = await opened()
    await expect(panel(page, "Recent denials")).to_contain_text("No traffic yet")
    await expect(page.get_by_text(documents.LOOK)).to_be_visible()


async def test_without_an_example_of_the_service_the_command_is_general(opened, fake):
    """A service whose clients need TLS has none."""
    fake.denied = lambda plain: []
    overview = changed(totals=dict.fromkeys(("allowed", "denied", "shadowed", "failed"), 0))
    fake.overview = lambda plain: {**overview(plain), "example": ""}
    page = await opened()
    await expect(panel(page, "Recent denials")).to_contain_text("ratelimitd check -d DOMAIN KEY=VALUE")


async def test_hits_whose_store_failed_are_counted_once(opened, fake):
    """They are among those of what was decided instead, and add nothing to the sum or to the height of the chart."""
    steps = [0] * (documents.STEPS - 1)
    fake.history = {
        "allowed": [*steps, 40], "denied": [*steps, 10], "shadowed": [*steps, 0], "failed": [*steps, 50],
    }  # fmt: skip
    page = await opened()
    traffic = panel(page, "Traffic")
    await expect(traffic).to_contain_text("50 hits; 10 denied (20")
    await expect(traffic).to_contain_text("The store failed for 50 hits.")
    await expect(traffic.locator(".axis-y span").first).to_have_text("5")


async def test_the_setting_that_turns_it_off_is_named(opened, fake):
    """With LIVE_MAX_BYTES=0 every page below /live/ answers 404; the page says what to set."""
    off = as_json(404, {"error": "the live view is off: set LIVE_MAX_BYTES"})
    fake.overrides = {f"/live/{name}": lambda request: off for name in LIVE}
    page = await opened()
    await expect(page.get_by_role("heading", level=1)).to_have_text("The live view is off")
    await expect(page.get_by_text("LIVE_MAX_BYTES=8388608")).to_be_visible()


async def test_ten_thousand_limits_are_searched_and_sorted_by_the_service(opened, fake):
    """The page holds one page of the table, and asks for the next, the order and the search."""
    fake.rows = documents.rows(10_000)
    page = await opened(VIEWS.limits)
    rows = page.get_by_role("row")
    await expect(page.get_by_text("1\u201350 of 10\u202f000")).to_be_visible()
    await expect(rows).to_have_count(51)
    await page.get_by_role("button", name="Next").click()
    await expect(page.get_by_text("51\u2013100 of 10\u202f000")).to_be_visible()
    await page.get_by_role("searchbox").fill("tenant_00777")
    await expect(rows).to_have_count(2)
    await page.get_by_role("searchbox").fill("")
    await page.get_by_role("button", name="Limit", exact=True).click()
    await expect(page.get_by_role("columnheader", name="Limit", exact=True)).to_have_attribute("aria-sort", "ascending")
    await expect(rows.nth(1)).to_contain_text("llm.tenant.concurrent")
    await page.get_by_role("button", name="Limit", exact=True).click()
    await expect(rows.nth(1)).to_contain_text("tenants.tenant_09987")


async def test_a_search_without_a_result_says_so(opened):
    """And names what was searched."""
    page = await opened(VIEWS.limits)
    await page.get_by_role("searchbox").fill("nothing-like-it")
    await expect(page.get_by_text("No limit has “nothing-like-it” in its name or domain.")).to_be_visible()


async def test_a_limit_shows_where_it_was_written_and_its_top_keys(opened):
    """File and line, its path, and its keys by time and by denied hits."""
    page = await opened(f"#/limit/{ADDRESS}")
    await expect(panel(page, "Place in the policy")).to_contain_text("policy.yaml:19")
    keys = panel(page, "Top keys")
    await expect(keys.get_by_role("row")).to_have_count(7)
    await keys.get_by_role("button", name="by denied").click()
    await expect(keys.get_by_role("row")).to_have_count(3)
    await keys.get_by_role("button", name="1 h", exact=True).click()
    await expect(keys.get_by_role("row").nth(1)).to_contain_text("44.8\u202fk")


async def test_an_unknown_limit_leads_to_the_others(opened):
    """A limit that a reload removed: the service's words, and the way back."""
    page = await opened("#/limit/0123456789abcdef")
    await expect(page.locator("main")).to_contain_text("the policy has no limit with this id")
    await expect(page.get_by_role("link", name="All limits")).to_be_visible()


async def test_what_if_shows_both_series(opened, fake):
    """The numbers of the form are asked for, and both outcomes stand in one sentence and one chart."""
    page = await opened(f"#/limit/{ADDRESS}")
    await page.get_by_label("Requests").fill("10")
    await page.get_by_label("Algorithm").select_option("sliding_window")
    await expect(page.get_by_label("Burst")).to_be_disabled()
    await page.get_by_role("button", name="Replay the hour").click()
    await expect(page.locator(".said")).to_contain_text("5 per second: 73.1\u202fk denied")
    await expect(page.locator(".said")).to_contain_text("10 per second, sliding_window: 47.3\u202fk denied")
    await expect(page.locator(".what-if svg path")).to_have_count(2)
    asked = next(query for _, path, query, *_ in fake.requests if path == "/live/what-if")
    assert asked == f"id={ADDRESS}&requests_per_unit=10&unit_multiplier=1&unit=second&algorithm=sliding_window"


async def test_a_what_if_that_is_busy_says_when_to_try_again(opened, fake):
    """One replay at a time: 503 with Retry-After."""
    busy = as_json(503, {"error": "another what-if runs"}, {"Retry-After": "3"})
    fake.overrides["/live/what-if"] = lambda request: busy
    page = await opened(f"#/limit/{ADDRESS}")
    await page.get_by_role("button", name="Replay the hour").click()
    await expect(page.get_by_role("alert")).to_have_text("another what-if runs. Try again in 3 s.")


async def test_replicas_that_do_not_answer_are_shown(opened):
    """Each with its state in words."""
    page = await opened(VIEWS.replicas)
    await expect(page.get_by_role("row").nth(1)).to_contain_text("this one")
    await expect(page.get_by_role("row").nth(3)).to_contain_text("no answer in time")


async def test_without_replicas_the_settings_are_named(opened, fake):
    """PEERS and PEER_ADDR, with what they are."""
    fake.replicas = documents.replicas(configured=False)
    page = await opened(VIEWS.replicas)
    await expect(page.locator("main")).to_contain_text("PEERS")
    await expect(page.locator("main")).to_contain_text("PEER_ADDR")


async def test_all_replicas_asks_for_their_sum(opened, fake):
    """The switch adds all=1, and the page asks again and again, since there is no stream of all."""
    page = await opened()
    await page.get_by_role("button", name="All replicas").click()
    await expect(page.get_by_role("banner")).to_contain_text("Every 5 s")
    assert ("GET", "/live/history", "all=1") in [request[:3] for request in fake.requests]


async def test_what_cannot_be_added_up_is_that_of_one_replica(opened):
    """The list of replicas, and a replay, which says so."""
    page = await opened(VIEWS.replicas)
    await page.get_by_role("button", name="All replicas").click()
    await expect(page.get_by_role("banner")).to_contain_text("Every 5 s")
    await page.get_by_role("link", name="Overview", exact=True).click()
    await page.get_by_role("link", name="Replicas", exact=True).click()
    await expect(page.get_by_role("row").nth(1)).to_contain_text("this one")
    await page.goto(f"{page.url.partition('#')[0]}#/limit/{ADDRESS}")
    await expect(page.get_by_role("region", name="What if")).to_contain_text("on this replica alone")
    await page.get_by_role("button", name="Replay the hour").click()
    await expect(page.locator(".said")).to_contain_text("denied")


async def test_times_have_a_zone(opened):
    """Also where a column has it in its title."""
    page = await opened()
    await expect(page.get_by_role("columnheader", name="Last, GMT+1")).to_be_visible()
    await expect(panel(page, "Health")).to_contain_text("18:08:00 GMT+1")
    await expect(panel(page, "Traffic")).to_contain_text("most at 18:59 GMT+1")


async def test_large_numbers_are_short(opened):
    """Three digits and a prefix."""
    page = await opened()
    await expect(panel(page, "Traffic")).to_contain_text("2.19\u202fM in the hour")
    await expect(panel(page, "Limits that deny most")).to_contain_text("1\u202f000\u202f000 per minute")


async def test_the_token_shows_keys_as_they_are(opened):
    """And the page says how to see them before."""
    page = await opened()
    await page.get_by_role("button", name="Enter token").click()
    await page.get_by_label("Token (ADMIN_TOKEN)").fill(TOKEN)
    await page.get_by_role("button", name="Use token").click()
    await expect(panel(page, "Recent denials")).to_contain_text("remote_address=203.0.113.77")
    await page.get_by_role("button", name="Forget token").click()
    await expect(panel(page, "Recent denials")).not_to_contain_text("203.0.113.77")


@pytest.mark.parametrize("view", ["#/", "#/limits", f"#/limit/{ADDRESS}", "#/key", "#/replicas"])
async def test_a_narrow_page_scrolls_in_one_direction(opened, view):
    """At 360 px nothing is wider than the page."""
    page = await opened(view, width=360, height=740)
    await expect(page.get_by_role("banner")).to_contain_text("Live")
    await expect(page.get_by_text("Loading …")).to_have_count(0)
    assert await page.evaluate("document.documentElement.scrollWidth") == 360


def changed(**parts):
    """The overview with parts that differ."""

    def overview(plain):
        document = documents.overview(plain)
        return {**document, **{name: {**document[name], **part} for name, part in parts.items()}}

    return overview
