"""The page of three real replicas on one Redis, and that of a proxy."""

import aiohttp
import pytest
from playwright.async_api import expect

from testkit.redis_server import redis_server
from tests.app.test_peers import TOKEN, hit, three
from tests.app.test_peers import policy as policy  # noqa: PLC0414 -- a fixture
from tests.gateway_process import FILE, gateway, statuses, upstream

pytestmark = [pytest.mark.browser, pytest.mark.process]


async def opened_at(browser, address):
    """A page of its own, which is never slower than a machine with other work."""
    page = await (await browser.new_context()).new_page()
    page.set_default_timeout(60_000)
    await page.goto(f"http://{address}/")
    return page


async def enter_token(page):
    await page.get_by_label("Token (ADMIN_TOKEN)").fill(TOKEN)
    await page.get_by_role("button", name="Use token").click()


@pytest.mark.redis
async def test_all_replicas_are_added_up(browser, policy):
    """The page of one asks for the token, then shows hits of all three; one that ended is shown as such."""
    with redis_server() as server:
        async with three(policy, REDIS_URL=server.address) as replicas:
            for each in replicas:
                await each.logged("redis is connected")
            assert sum([await hit(each, 3) for each in replicas]) == 4
            page = await opened_at(browser, replicas[0].debug)
            await page.get_by_role("button", name="All replicas").click()
            await enter_token(page)
            denials = page.get_by_role("region", name="Recent denials", exact=True)
            await expect(denials).to_contain_text("user=alice", timeout=60_000)
            await denials.get_by_role("link").first.click()
            keys = page.get_by_role("region", name="Top keys")
            await keys.get_by_role("button", name="1 h", exact=True).click()
            await expect(keys.get_by_role("row", name="user=alice").get_by_role("cell").nth(0)).to_have_text(
                "9", timeout=60_000
            )
            await page.get_by_role("link", name="Replicas", exact=True).click()
            rows = page.get_by_role("table", name="Replicas").get_by_role("row")
            await expect(rows.filter(has_text="answers")).to_have_count(3, timeout=60_000)
            replicas[2].process.kill()
            await replicas[2].ended()
            await expect(page.locator("main")).to_contain_text("refuses the connection", timeout=60_000)
            await page.context.close()


async def test_a_proxy_has_the_page(browser, tmp_path):
    """What it denies is there, with the line of its gateway file."""
    file = tmp_path / "gateway.yaml"
    async with upstream() as (url, _):
        file.write_text(FILE.format(url=url, limit=1, policy="allow"))
        env = {"ADMIN_TOKEN": TOKEN, "DEBUG_PORT": "0"}
        async with gateway("--config", str(file), env=env) as running:
            page = await opened_at(browser, (await running.logged("serving"))["debug"])
            await expect(page.get_by_text("No traffic yet")).to_be_visible(timeout=60_000)
            async with aiohttp.ClientSession(f"http://{running.proxy}") as client:
                assert await statuses(client, 2, "/api/") == [200, 429]
            denials = page.get_by_role("region", name="Recent denials", exact=True)
            await expect(denials).to_contain_text("over 1 per hour", timeout=60_000)
            await denials.get_by_role("link").click()
            await expect(page.get_by_role("region", name="Place in the policy")).to_contain_text("gateway.yaml:")
            await page.context.close()
