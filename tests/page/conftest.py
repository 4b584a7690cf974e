"""A browser for all tests of this folder, and for each a service of its own that a test steers."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytest_asyncio
from playwright.async_api import async_playwright

from .documents import NOW
from .fake import Fake, served

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
MISSING = "no Chromium: run `scripts/system`, or install the package chromium"


def pytest_collection_modifyitems(items):
    """All of them share the event loop of the browser."""
    for item in items:
        if item.path.parent == Path(__file__).parent and item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.asyncio(loop_scope="package"), append=False)


def browser_program():
    """The path of the system's Chromium; None without one."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def browser():
    """Headless Chromium of the system; without one tests are skipped, but not in CI."""
    program = browser_program()
    if program is None:
        pytest.fail(MISSING) if os.environ.get("CI") else pytest.skip(MISSING)
    async with async_playwright() as playwright:
        sandbox = [] if os.getuid() else ["--no-sandbox"]
        chromium = await playwright.chromium.launch(executable_path=program, args=sandbox)
        yield chromium
        await chromium.close()


@pytest.fixture
def fake():
    return Fake()


@pytest_asyncio.fixture(loop_scope="package")
async def address(fake):
    async with served(fake) as url:
        yield url


@pytest_asyncio.fixture(loop_scope="package")
async def opened(browser, address):
    """Return a function that opens a view; at the end no page has had an error of its script or of its policy."""
    contexts, errors = [], []

    async def open_view(view="", width=1280, height=900, scheme="light", moving=False, **more):
        """``moving``: the clock can be moved by the test; else it stands, and timers run."""
        context = await browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            locale="en-GB",
            timezone_id="Europe/Berlin",
            **more,
        )
        contexts.append(context)
        page = await context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if is_error(said) else None)
        page.set_default_timeout(15_000)
        await (page.clock.install(time=NOW) if moving else page.clock.set_fixed_time(NOW))
        await page.goto(f"{address}{view}")
        return page

    yield open_view
    for context in contexts:
        await context.close()
    assert errors == []


def is_error(said):
    """Whether a line of the console is an error of the page; a refused request is one of the service."""
    return said.type == "error" and "Failed to load resource" not in said.text


VIEWS = SimpleNamespace(overview="#/", limits="#/limits", key="#/key", replicas="#/replicas")
