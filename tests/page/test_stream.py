"""The live parts: a stream that follows, that comes back, and that a hidden page does not read."""

import asyncio

import pytest
from playwright.async_api import expect

from ratelimitd.admin.http import as_json

from . import documents

pytestmark = pytest.mark.browser

SHOW = """hidden => {
  Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
  document.dispatchEvent(new Event("visibilitychange"));
}"""


async def until(true):
    async with asyncio.timeout(15):
        while not true():
            await asyncio.sleep(0.02)


async def live(page):
    await expect(page.get_by_role("banner")).to_contain_text("Live")


async def test_events_change_what_is_shown(opened, fake):
    """New rates and denials appear without a further question."""
    page = await opened()
    await live(page)
    overview = documents.overview(False)
    overview["rates"] = {**overview["rates"], "denied": 77_700.0}
    fake.send("overview", overview)
    await expect(page.get_by_role("region", name="Traffic", exact=True)).to_contain_text("77.7\u202fk")
    new = documents.denials(False, [(0.1, 4, "user=new", 7, 9.0, 20, False, "over_limit", 1)])
    fake.send("denials", {"version": 1, "time": documents.NOW, "denials": new})
    await expect(
        page.get_by_role("region", name="Recent denials", exact=True).get_by_role("row").nth(1)
    ).to_contain_text("7\u00d7")


async def test_a_hidden_page_reads_nothing(opened, fake):
    """Its stream ends at the service, and begins again when it is seen."""
    page = await opened()
    await until(lambda: fake.readers == 1)
    await page.evaluate(SHOW, True)
    await until(lambda: fake.readers == 0)
    await expect(page.get_by_role("banner")).to_contain_text("Paused")
    await page.evaluate(SHOW, False)
    await until(lambda: fake.readers == 1)


async def test_a_lost_stream_is_said_and_comes_back(opened, fake):
    """The page keeps its numbers, says of which time they are, and tries again by itself."""
    page = await opened()
    await live(page)
    fake.end()
    await expect(page.locator("#problems")).to_contain_text("Connection lost: the service closed the stream")
    await expect(page.locator("#problems")).to_contain_text("19:00:00 GMT+1")
    await live(page)
    assert fake.seen == 2


async def test_waits_grow_while_the_service_fails(opened, fake):
    """Each failure doubles the wait, up to half a minute: a service that starts is not overrun by its pages."""
    page = await opened(moving=True)
    await live(page)
    fake.overrides["/live/overview"] = lambda request: as_json(503, {"error": "starting"})
    fake.end()
    await expect(page.locator("#problems")).to_contain_text("Connection lost")

    def asked():
        return sum(path == "/live/overview" for _, path, *_ in fake.requests)

    before = asked()
    await page.clock.run_for(120_000)
    await until(lambda: asked() > before)
    assert asked() - before <= 10


async def test_a_view_has_one_stream(opened, fake):
    """Going from view to view leaves none behind."""
    page = await opened()
    for name in ("Limits", "Replicas", "Overview"):
        await page.get_by_role("link", name=name, exact=True).click()
        await live(page)
    await until(lambda: fake.readers == 1)


async def test_focus_stays_while_numbers_change(opened, fake):
    """A reader at the keyboard does not lose the place at each event."""
    page = await opened()
    await live(page)
    link = page.get_by_role("region", name="Recent denials", exact=True).get_by_role("link", name="shop.search")
    await link.focus()
    new = documents.denials(False, [(0.1, 4, "user=new", 7, 9.0, 20, False, "over_limit", 1)])
    fake.send("denials", {"version": 1, "time": documents.NOW, "denials": new})
    await expect(page.get_by_text("7\u00d7")).to_be_visible()
    await expect(link).to_be_focused()
