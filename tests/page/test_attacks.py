"""Pages of other origins in a reader's browser, and text of callers, against a real service: they do nothing."""

from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from playwright.async_api import expect

from tests.service import service

from .conftest import browser_program

pytestmark = [pytest.mark.browser, pytest.mark.process]

TOKEN = "0123456789-of-the-attacks"
HARM = '"><img src=x onerror="window.harmed=1"><script>window.harmed=1</script>'
TURNED = "\u202egnp.exe\u2028"
EVENT = "\n\nevent: overview\ndata: {}\n\n"
STEERING = "\x1b[2J\x07\x00"
TEXTS = [HARM, TURNED, EVENT, STEERING, "__proto__", "x" * 16_000]
POLICY = f"""
domain: {HARM!r}
descriptors:
- {{key: user, rate_limit: {{unit: day, requests_per_unit: 1}}}}
- key: {HARM!r}
  value: {HARM!r}
  rate_limit: {{unit: day, requests_per_unit: 1, name: 'javascript:window.harmed=1'}}
"""

TRIES = """
async ([target, token]) => {
  const done = {};
  const tried = async (name, promise) => {
    done[name] = await Promise.resolve().then(promise).then(() => "done", () => "failed");
  };
  const loaded = (tag, attribute, url) => () => new Promise((resolve, reject) => {
    const made = document.createElement(tag);
    made.onload = resolve;
    made.onerror = reject;
    made[attribute] = url;
    document.body.append(made);
  });
  const opened = made => () => new Promise((resolve, reject) => {
    const it = made();
    it.onopen = resolve;
    it.onerror = reject;
  });
  await tried("read", () => fetch(target + "/live/overview").then(answer => answer.text()));
  await tried("token", () => fetch(target + "/live/overview", {headers: {Authorization: "Bearer " + token}}));
  await tried("reset", () => fetch(target + "/admin/key", {
    method: "DELETE", headers: {Authorization: "Bearer " + token, "Content-Type": "application/json"},
  }));
  await tried("events", opened(() => new EventSource(target + "/live/events")));
  await tried("socket", opened(() => new WebSocket(target.replace("http", "ws") + "/live/events")));
  await tried("script", loaded("script", "src", target + "/live/overview"));
  await tried("image", loaded("img", "src", target + "/live/overview"));
  await fetch(target + "/live/events", {mode: "no-cors"});
  await fetch(target + "/admin/key", {mode: "no-cors", method: "POST", body: '{"domain": "d"}'});
  return done;
}
"""


@asynccontextmanager
async def stranger():
    """A site of somebody else, which counts what is asked of it; yields its port and the list of paths."""
    asked = []

    async def answer(request):
        asked.append(request.path)
        return web.Response(text="<!doctype html><title>stranger</title><body></body>", content_type="text/html")

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1], asked
    finally:
        await runner.cleanup()


@pytest.fixture
def policy(tmp_path):
    file = tmp_path / "<img src=x onerror=window.harmed=1>.yaml"
    file.write_text(POLICY)
    return file


def port_of(address):
    return address.rpartition(":")[2]


async def ask(running, key, value):
    body = {"domain": HARM, "descriptors": [{"entries": [{"key": key, "value": value}]}]}
    async with aiohttp.ClientSession() as session:
        async with session.post(f"http://{running.http}/json", json=body) as response:
            return response.status


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"], ids=["same site", "another site"])
async def test_a_page_of_another_origin_reads_and_changes_nothing(browser, policy, host):
    """Every way of a browser to send a request: all are refused, also with the token, and from a port of this host."""
    async with service("--config", str(policy), env={"ADMIN_TOKEN": TOKEN}) as running, stranger() as (port, _):
        context = await browser.new_context()
        page = await context.new_page()
        target = f"http://localhost:{port_of(running.debug)}"
        statuses = set()
        page.on("response", lambda answer: statuses.add(answer.status) if answer.url.startswith(target) else None)
        await page.goto(f"http://{host}:{port}/")
        done = await page.evaluate(TRIES, [target, TOKEN])
        assert set(done.values()) == {"failed"}, done
        assert statuses
        assert statuses <= {403, 405, 501}
        assert "live/events" not in running.text
        await context.close()


@pytest.mark.parametrize("tag", ["iframe", "object", "embed"])
async def test_the_page_is_in_no_frame(browser, policy, tag):
    """So no click of a reader on another page reaches its buttons."""
    async with service("--config", str(policy)) as running, stranger() as (port, _):
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(f"http://localhost:{port}/")
        where = "data" if tag == "object" else "src"
        await page.evaluate(
            """([tag, where, url]) => {
              const made = document.createElement(tag);
              made.type = "text/html";
              made[where] = url;
              document.body.append(made);
            }""",
            [tag, where, f"http://localhost:{port_of(running.debug)}/"],
        )
        await page.wait_for_function("window.length === 0 || window.frames[0] !== undefined")
        await page.wait_for_load_state("networkidle")
        shown = [frame for frame in page.frames[1:] if await frame.locator("button, h1, nav").count()]
        assert [frame.url for frame in shown if not frame.url.startswith("chrome-error:")] == []
        await context.close()


async def test_the_page_has_no_opener(browser, policy):
    """A page that opens it in a window has no hold of it."""
    async with service("--config", str(policy)) as running, stranger() as (port, _):
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(f"http://localhost:{port}/")
        async with context.expect_page() as coming:
            await page.evaluate("url => { window.other = window.open(url) }", f"http://{running.debug}/")
        opened = await coming.value
        await expect(opened.get_by_role("banner")).to_be_visible()
        assert await opened.evaluate("window.opener") is None
        await page.wait_for_function("window.other.closed")
        await context.close()


async def test_a_name_that_leads_here_reads_nothing(browser, policy):
    """DNS rebinding: for the browser the page and the port are of one origin, and only Host tells."""
    async with service("--config", str(policy)) as running:
        rebound = await browser.browser_type.launch(
            executable_path=browser_program(),
            args=["--no-sandbox", "--host-resolver-rules=MAP *.example 127.0.0.1"],
        )
        try:
            page = await rebound.new_page()
            for path in ("", "live/overview", "rlconfig"):
                answer = await page.goto(f"http://evil.example:{port_of(running.debug)}/{path}")
                assert answer.status == 421
            reads = "path => fetch(path).then(answer => answer.status)"
            assert [await page.evaluate(reads, path) for path in ("/live/limits", "/live/events")] == [421, 421]
        finally:
            await rebound.close()


async def test_text_of_callers_and_of_the_policy_stays_text(browser, policy):
    """Keys, values, a domain, a limit, a file: no element, no script, no event and no error comes of them."""
    async with service("--config", str(policy), env={"ADMIN_TOKEN": TOKEN}) as running:
        for text in TEXTS:
            assert [await ask(running, "user", text) for _ in range(2)] == [200, 429]
        assert [await ask(running, HARM, HARM) for _ in range(2)] == [200, 429]
        context = await browser.new_context()
        page = await context.new_page()
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        await page.goto(f"http://{running.debug}/")
        denials = page.get_by_role("region", name="Recent denials", exact=True)
        await expect(denials).to_contain_text("user=#")
        await page.get_by_role("button", name="Enter token", exact=True).click()
        await page.get_by_label("Token (ADMIN_TOKEN)").fill(TOKEN)
        await page.get_by_role("button", name="Use token").click()
        await expect(denials).to_contain_text("user=__proto__")
        await expect(denials).to_contain_text(r"user=\u202egnp.exe\u2028")
        assert not set("\u202e\u2028\x1b\x07") & set(await page.locator("body").inner_text())
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://{running.debug}/live/limits") as response:
                rows = (await response.json())["limits"]
        assert len(rows) == 2
        for view in ("", "limits", *(f"limit/{row['id']}" for row in rows), "replicas", f"limit/{HARM}", f"key?{HARM}"):
            await page.goto(f"http://{running.debug}/#/{view}")
            await expect(page.locator("main h1")).to_be_visible()
            assert await page.locator("img, iframe, main script, a[href^='javascript']").count() == 0
        assert await page.evaluate("window.harmed") is None
        assert errors == []
        kept = "[...Object.values(localStorage), ...Object.values(sessionStorage), document.cookie].join()"
        assert TOKEN not in await page.evaluate(kept) + page.url + running.text
        await context.close()


async def test_a_script_that_got_into_the_page_could_do_little(browser, policy):
    """The policy of the page: no markup from text, no script of text, and no request to another origin."""
    async with service("--config", str(policy)) as running, stranger() as (port, asked):
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(f"http://{running.debug}/")
        done = await page.evaluate(
            """async away => {
              const tried = async action => {
                try { await action(); return "done" } catch { return "failed" }
              };
              const script = document.createElement("script");
              const form = Object.assign(document.createElement("form"), {action: away, method: "post"});
              const base = Object.assign(document.createElement("base"), {href: away});
              document.body.append(form, base);
              form.submit();
              document.body.append(Object.assign(document.createElement("img"), {src: away}));
              return [
                await tried(() => { document.body.innerHTML = "<b>x</b>" }),
                await tried(() => { script.text = "window.harmed = 1" }),
                await tried(() => setTimeout("window.harmed = 1")),
                await tried(() => fetch(away)),
                document.baseURI.startsWith(away) ? "done" : "failed",
              ];
            }""",
            f"http://127.0.0.1:{port}/",
        )
        assert done == ["failed"] * 5
        assert await page.evaluate("window.harmed") is None
        assert asked == []
        await context.close()
