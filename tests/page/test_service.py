"""The page of a real service, under real requests, with either store."""

import aiohttp
import pytest
from playwright.async_api import expect

from testkit.redis_server import redis_server
from tests.service import service

pytestmark = pytest.mark.browser

TOKEN = "0123456789-of-the-page"
POLICY = """\
domain: shop
descriptors:
  - key: user
    rate_limit: {unit: hour, requests_per_unit: 3, name: hourly}
"""


async def denied_in(running, tmp_user="alice"):
    """Send requests until one is denied."""
    body = {"domain": "shop", "descriptors": [{"entries": [{"key": "user", "value": tmp_user}]}]}
    async with aiohttp.ClientSession() as session:
        codes = []
        while 429 not in codes and len(codes) < 10:
            async with session.post(f"http://{running.http}/json", json=body) as response:
                codes.append(response.status)
    assert codes == [200, 200, 200, 429]


async def newcomer(browser, running):
    """From an empty page to the limit that denied, the caller's counter, and its reset."""
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(f"http://{running.debug}/")
    await expect(page.get_by_text("No traffic yet")).to_be_visible()
    await denied_in(running)
    denials = page.get_by_role("region", name="Recent denials", exact=True)
    await expect(denials).to_contain_text("over 3 per hour", timeout=30_000)
    await expect(denials).not_to_contain_text("alice")
    await page.get_by_role("button", name="Enter token", exact=True).click()
    await page.get_by_label("Token (ADMIN_TOKEN)").fill(TOKEN)
    await page.get_by_role("button", name="Use token").click()
    await expect(denials).to_contain_text("user=alice")
    await denials.get_by_role("link").click()
    await expect(page.get_by_role("region", name="Place in the policy")).to_contain_text("policy.yaml:4")
    await page.get_by_label("Requests").fill("10")
    await page.get_by_role("button", name="Replay the hour").click()
    await expect(page.locator(".said")).to_contain_text("10 per hour")
    await page.get_by_role("button", name="Look up user=alice").click()
    counter = page.get_by_role("region", name="user=alice")
    await expect(counter).to_contain_text("0 remaining")
    await page.get_by_role("button", name="Reset this key").click()
    await page.get_by_role("button", name="Reset", exact=True).click()
    await expect(counter).to_contain_text("0 used, 3 remaining")
    await context.close()
    await denied_in(running)


@pytest.fixture
def policy(tmp_path):
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    return file


@pytest.mark.process
async def test_a_newcomer_finds_the_limit_that_denied(browser, policy):
    """In memory: the page shows it within seconds, with its line in the policy, and a reset lets the caller pass."""
    async with service("--config", str(policy), env={"ADMIN_TOKEN": TOKEN}) as running:
        await newcomer(browser, running)


@pytest.mark.process
@pytest.mark.redis
async def test_the_same_on_redis(browser, policy):
    """The counters are in Redis, and the page says so."""
    with redis_server(tcp=True) as redis:
        env = {"ADMIN_TOKEN": TOKEN, "REDIS_URL": f"redis://127.0.0.1:{redis.port}"}
        async with service("--config", str(policy), env=env) as running:
            await newcomer(browser, running)


@pytest.mark.process
async def test_a_service_that_ends_is_said_to(browser, policy):
    """The last event says that it shuts down, and the page tries again by itself."""
    async with service("--config", str(policy)) as running:
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(f"http://{running.debug}/")
        await expect(page.get_by_role("banner")).to_contain_text("Live")
        running.terminate()
        await expect(page.locator("#problems")).to_contain_text("Connection lost")
        await context.close()


@pytest.mark.process
async def test_the_live_view_that_is_off_says_what_to_set(browser, policy):
    """LIVE_MAX_BYTES=0: the page is there, and names the setting."""
    async with service("--config", str(policy), env={"LIVE_MAX_BYTES": "0"}) as running:
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(f"http://{running.debug}/")
        await expect(page.get_by_role("heading", level=1)).to_have_text("The live view is off")
        await expect(page.locator("main")).to_contain_text("LIVE_MAX_BYTES")
        await context.close()
