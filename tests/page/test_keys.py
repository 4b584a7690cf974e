"""Look-up and reset: with the token, which stays in the page's memory, and with keys that are in no URL."""

import json

import pytest
from playwright.async_api import expect

from ratelimitd.admin.http import as_json

from . import documents
from .conftest import VIEWS
from .fake import TOKEN
from .test_stream import until

pytestmark = pytest.mark.browser

HOSTILE = '<img src=x onerror="window.harmed = 1"><script>window.harmed = 1</script>'


async def look_up(page, descriptor="user=alice", token=TOKEN):
    await page.get_by_label("Domain").fill("shop")
    await page.get_by_label("Descriptor").fill(descriptor)
    await page.get_by_role("button", name="Look up").click()
    await page.get_by_label("Token (ADMIN_TOKEN)").fill(token)
    await page.get_by_role("button", name="Use token").click()


async def test_a_look_up_shows_state_remaining_reset_and_why(opened):
    """The token is asked for, then the question goes on by itself."""
    page = await opened(VIEWS.key)
    await look_up(page)
    result = page.get_by_role("region", name="user=alice")
    for text in (
        "98 used, 2 remaining",
        "passes now",
        "in 59\u202fs",
        "GMT+1",
        "user=alice took user, the key with any value",
    ):
        await expect(result).to_contain_text(text)


async def test_a_wrong_token_is_asked_for_again(opened, fake):
    """In the dialog, with the reason."""
    page = await opened(VIEWS.key)
    await look_up(page, token="wrong")
    await expect(page.get_by_role("alert")).to_have_text("The service does not accept this token.")
    await expect(page.get_by_role("dialog")).to_be_visible()
    assert not [path for _, path, *_ in fake.requests if path == "/admin/key"]


async def test_a_reset_is_confirmed_first(opened, fake):
    """Cancel and Escape change nothing; the confirmation names key and consequence."""
    page = await opened(VIEWS.key)
    await look_up(page)
    await page.get_by_role("button", name="Reset this key").click()
    await expect(page.get_by_role("dialog")).to_contain_text("user=alice in shop")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    assert "DELETE" not in {method for method, *_ in fake.requests}
    await page.get_by_role("button", name="Reset this key").click()
    await page.get_by_role("button", name="Reset", exact=True).click()
    await expect(page.get_by_role("region", name="user=alice")).to_contain_text("0 used, 100 remaining")
    await expect(page.locator("main")).to_contain_text("Reset at 19:00")


async def test_token_and_key_are_in_no_url_and_no_storage(opened, fake):
    """The token travels in a header, keys in bodies; after a reload of the page both are gone."""
    page = await opened(VIEWS.key)
    await look_up(page, "user=s3cret-person")
    await expect(page.get_by_role("region", name="user=s3cret-person")).to_be_visible()
    addresses = [page.url, *(path + "?" + query for _, path, query, *_ in fake.requests)]
    assert not [each for each in addresses if TOKEN in each or "s3cret-person" in each]
    assert f"Bearer {TOKEN}" in {authorization for *_, authorization, _ in fake.requests}
    stored = "[JSON.stringify({...localStorage}), JSON.stringify({...sessionStorage}), document.cookie, history.state]"
    assert await page.evaluate(stored) == ["{}", "{}", "", None]
    await page.reload()
    await expect(page.get_by_role("button", name="Enter token")).to_be_visible()


async def test_a_descriptor_is_read_as_the_command_line_reads_it(opened, fake):
    """Commas and backslashes of a value have a backslash before them; an equals sign needs none."""
    page = await opened(VIEWS.key)
    await look_up(page, r"user=a\,b\\c,path=x=y,empty=")
    await expect(page.get_by_text("98 used")).to_be_visible()
    body = next(json.loads(body) for method, path, _, _, body in fake.requests if path == "/admin/key")
    assert body == {
        "domain": "shop",
        "descriptors": [
            {
                "entries": [
                    {"key": "user", "value": r"a,b\c"},
                    {"key": "path", "value": "x=y"},
                    {"key": "empty", "value": ""},
                ]
            }
        ],
    }


async def test_what_is_no_descriptor_is_said(opened, fake):
    """With what to write instead, and without a request."""
    page = await opened(VIEWS.key)
    await look_up(page, "alice")
    await expect(page.get_by_role("alert")).to_have_text(
        "“alice” is not an entry: write key=value, or key= for an empty value"
    )
    assert not [path for _, path, *_ in fake.requests if path == "/admin/key"]


async def test_a_key_of_a_table_is_looked_up_from_there(opened, fake):
    """With the token each top key has a button, and the key is not in the address."""
    page = await opened(f"#/limit/{documents.limit_id('shop.remote_address')}")
    await page.get_by_role("button", name="Enter token").click()
    await page.get_by_label("Token (ADMIN_TOKEN)").fill(TOKEN)
    await page.get_by_role("button", name="Use token").click()
    await page.get_by_role("button", name="Look up remote_address=203.0.113.77").click()
    await expect(page.get_by_role("region", name="remote_address=203.0.113.77")).to_be_visible()
    assert page.url.endswith("#/key")


async def test_text_of_clients_and_of_the_policy_is_text(opened, fake):
    """A script in a key, a domain, a limit's name, a path, a replica, an error: shown, and not run."""
    fake.rows = [
        {
            **row,
            "name": HOSTILE,
            "domain": HOSTILE,
            "path": [HOSTILE],
            "summary": HOSTILE,
            "where": {"file": HOSTILE, "line": 1},
        }
        for row in fake.rows
    ]
    rows = [(at, 0, HOSTILE, 1, 2.0, 1, False, HOSTILE, 1) for at in (1.0,)]
    fake.denied = lambda plain: [{**each, "limit": HOSTILE, "key": HOSTILE} for each in documents.denials(True, rows)]
    fake.keys = lambda plain: [{**key, "key": HOSTILE} for key in documents.keys(True)[:1]]
    fake.replicas = {
        **documents.replicas(),
        "replicas": [
            {**each, "name": HOSTILE, "address": HOSTILE, "error": HOSTILE} for each in documents.replicas()["replicas"]
        ],
    }

    def overview(plain):
        document = documents.overview(plain)
        return {
            **document,
            "example": HOSTILE,
            "replica": {**document["replica"], "name": HOSTILE},
            "store": {**document["store"], "where": HOSTILE},
            "policy": {
                **document["policy"],
                "source": HOSTILE,
                "version": HOSTILE,
                "refused": [HOSTILE],
                "warnings": [HOSTILE],
            },
            "health": {**document["health"], "notes": [{"component": HOSTILE, "reason": HOSTILE}]},
        }

    fake.overview = overview
    for view in ("#/", "#/limits", f"#/limit/{documents.limit_id('shop.remote_address')}", "#/replicas"):
        page = await opened(view)
        await expect(page.locator("main")).to_contain_text(HOSTILE)
        assert await page.locator("img, main script, #problems script").count() == 0
        assert await page.evaluate("window.harmed") is None


async def test_a_token_that_ends_is_asked_for_again(opened, fake):
    """A rotated token: the service answers 401, and the page forgets the old one."""
    page = await opened()
    await page.get_by_role("button", name="Enter token").click()
    await page.get_by_label("Token (ADMIN_TOKEN)").fill(TOKEN)
    await page.get_by_role("button", name="Use token").click()
    await expect(page.get_by_role("button", name="Forget token")).to_be_visible()
    await until(lambda: fake.seen == 2 and fake.readers == 1)
    refused = as_json(401, {"error": "no"})
    fake.overrides["/live/overview"] = lambda request: refused if request.headers.get("Authorization") else None
    fake.end()
    await expect(page.get_by_role("button", name="Enter token")).to_be_visible()
