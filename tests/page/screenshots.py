"""The pictures of docs/live.md: ``python -m tests.page.screenshots FOLDER``. Equal documents give equal pictures."""

import asyncio
import os
import shutil
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.async_api import async_playwright

from . import documents
from .fake import Fake, served

LIMIT = f"#/limit/{documents.limit_id('shop.remote_address')}"
PICTURES = {  # view, color scheme, width
    "overview-light.png": ("#/", "light", 1280),
    "overview-dark.png": ("#/", "dark", 1280),
    "limit.png": (LIMIT, "light", 1280),
    "narrow.png": ("#/", "light", 390),
}
HEIGHT = {"narrow.png": 1500}
COLORS = 255  # of the palette: a third of the bytes, and no difference to be seen


async def main(folder):
    async with served(Fake()) as address, async_playwright() as playwright:
        sandbox = [] if os.getuid() else ["--no-sandbox"]
        program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        browser = await playwright.chromium.launch(executable_path=program, args=sandbox)
        for name, (view, scheme, width) in PICTURES.items():
            (folder / name).write_bytes(
                small(await picture(browser, f"{address}{view}", scheme, width, HEIGHT.get(name)))
            )
        await browser.close()


async def picture(browser, address, scheme, width, height):
    context = await browser.new_context(
        viewport={"width": width, "height": height or 900},
        color_scheme=scheme,
        locale="en-GB",
        timezone_id="UTC",
        reduced_motion="reduce",
    )
    page = await context.new_page()
    await page.clock.set_fixed_time(documents.NOW)
    await page.goto(address)
    await page.get_by_text("● Live").wait_for()
    if LIMIT in address:
        await page.get_by_label("Requests").fill("10")
        await page.get_by_role("button", name="Replay the hour").click()
        await page.locator(".said").wait_for()
        await page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    taken = await page.screenshot(full_page=height is None)
    await context.close()
    return taken


def small(png):
    with Image.open(BytesIO(png)) as image:
        out = BytesIO()
        image.convert("RGB").quantize(COLORS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
            out, "PNG", optimize=True
        )
        return out.getvalue()


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    asyncio.run(main(target))
