"""By keyboard, by screen reader, in light and dark, narrow and wide."""

import re

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect

from . import documents
from .conftest import VIEWS
from .fake import TOKEN
from .test_views import changed

pytestmark = pytest.mark.browser

LIMIT = f"#/limit/{documents.limit_id('shop.remote_address')}"
EACH = {
    "overview": VIEWS.overview,
    "limits": VIEWS.limits,
    "limit": LIMIT,
    "key": VIEWS.key,
    "replicas": VIEWS.replicas,
}


REACHABLE = """[...document.querySelectorAll(
  "a[href], button:not(:disabled), input:not(:disabled), select, [tabindex='0']"
)].filter(e => !e.closest("dialog")).length"""
FOCUSED = """(e => e === document.body || (window.seen.add(e), getComputedStyle(e).outlineStyle !== "none"))(
  document.activeElement)"""
SPOKEN = "[...document.querySelectorAll('[aria-live], [role=status], [role=log], [role=alert]')].map(e => e.id)"


async def ready(page):
    await expect(page.get_by_role("banner")).to_contain_text("Live")
    await expect(page.get_by_text("Loading …")).to_have_count(0)


@pytest.mark.slow
@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", EACH.values(), ids=EACH)
async def test_axe_finds_nothing(opened, view, scheme, width):
    """axe-core, all of its rules: names, contrast, roles, order, targets."""
    page = await opened(view, width=width, scheme=scheme, bypass_csp=True)
    await ready(page)
    if view == LIMIT:
        await page.get_by_role("button", name="Replay the hour").click()
        await expect(page.locator(".said")).to_be_visible()
    assert violations(await Axe().run(page)) == []


async def test_axe_finds_nothing_in_dialogs_and_results(opened):
    """The token, a key's counters, and the confirmation."""
    page = await opened(VIEWS.key, bypass_csp=True)
    await page.get_by_label("Domain").fill("shop")
    await page.get_by_label("Descriptor").fill("user=alice")
    await page.get_by_role("button", name="Look up").click()
    await expect(page.get_by_role("dialog")).to_be_visible()
    assert violations(await Axe().run(page)) == []
    await page.get_by_label("Token (ADMIN_TOKEN)").fill(TOKEN)
    await page.get_by_role("button", name="Use token").click()
    await page.get_by_role("button", name="Reset this key").click()
    await expect(page.get_by_role("dialog")).to_be_visible()
    assert violations(await Axe().run(page)) == []


async def test_axe_finds_nothing_in_problems_and_empty_states(opened, fake):
    """A refused policy, a failing store, and no traffic yet."""
    fake.denied = lambda plain: []
    fake.overview = changed(
        policy={"refused": ["policy.yaml:12: unknown unit"]},
        store={"state": "failing", "text": "refused", "breaker": "open"},
        totals=dict.fromkeys(("allowed", "denied", "shadowed", "failed"), 0),
    )
    page = await opened(bypass_csp=True)
    await expect(page.get_by_text("No traffic yet")).to_be_visible()
    assert violations(await Axe().run(page)) == []


def violations(results):
    return [(each["id"], [node["html"] for node in each["nodes"]][:3]) for each in results.response["violations"]]


@pytest.mark.parametrize("view", EACH.values(), ids=EACH)
async def test_the_keyboard_reaches_all(opened, view):
    """Tab comes to every link, button, field and chart, and each shows that it has the focus."""
    page = await opened(view)
    await ready(page)
    wanted = await page.evaluate(REACHABLE)
    await page.evaluate("document.activeElement.blur()")
    await page.evaluate("window.seen = new Set()")
    for _ in range(wanted + 2):
        await page.keyboard.press("Tab")
        assert await page.evaluate(FOCUSED)
    assert await page.evaluate("window.seen.size") >= wanted


async def test_arrow_keys_read_a_chart(opened):
    """The chart says the time and the values of each step, to a screen reader and in the figures beside it."""
    page = await opened()
    await ready(page)
    chart = page.get_by_role("slider", name="Hits a second, last hour")
    await chart.focus()
    for _ in range(3):
        await page.keyboard.press("ArrowLeft")
    await expect(chart).to_have_attribute("aria-valuetext", re.compile(r"^18:59:20 GMT\+1: Allowed .*, Denied "))
    await expect(page.get_by_role("region", name="Traffic", exact=True)).to_contain_text("at 18:59:20 GMT+1")
    await page.keyboard.press("Home")
    await expect(chart).to_have_attribute("aria-valuenow", "0")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("region", name="Traffic", exact=True)).to_contain_text("hits a second, now")


async def test_the_pointer_reads_a_chart(opened):
    """The same values where the pointer is."""
    page = await opened()
    await ready(page)
    await page.get_by_role("slider").hover()
    await expect(page.get_by_role("region", name="Traffic", exact=True)).to_contain_text("at 18:30:00 GMT+1")


async def test_numbers_that_change_are_not_read_out(opened):
    """One polite region says what happened, and no table, figure or chart is one."""
    page = await opened()
    await ready(page)
    assert await page.evaluate(SPOKEN) == ["announce"]


async def test_the_theme_can_be_chosen(opened):
    """By the system, or by the reader until the tab ends."""
    page = await opened(scheme="light")
    await ready(page)
    color = "getComputedStyle(document.documentElement).backgroundColor"
    light = await page.evaluate(color)
    await page.get_by_label("Theme").select_option("dark")
    dark = await page.evaluate(color)
    assert light != dark
    await page.get_by_label("Theme").select_option("auto")
    assert await page.evaluate(color) == light


async def test_a_new_view_begins_at_its_heading(opened):
    """The focus goes there and the title of the tab says it, as after a link to another document."""
    page = await opened()
    await ready(page)
    await page.get_by_role("link", name="Replicas", exact=True).press("Enter")
    await expect(page.get_by_role("heading", name="Replicas", level=1)).to_be_focused()
    await expect(page).to_have_title("Replicas · ratelimitd")
