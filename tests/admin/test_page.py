"""The page at /: its text, the headers that guard it, and which requests get it."""

import base64
import hashlib
import re

import pytest

from ratelimitd.admin.http import PageRequest, PageResponse
from ratelimitd.admin.page import FILES, SCRIPTS, STYLES, accepts_html, page

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


async def listing(_):
    return PageResponse(200, b"/rlconfig: the active limits\n")


async def ask(path="/", accept=BROWSER, method="GET"):
    return await page(listing)(PageRequest(method, path, {}, {"Accept": accept} if accept else {}, b""))


BANNED = (
    *("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "createContextualFragment"),
    *("eval(", "new Function", "import("),
    *("localStorage", "sessionStorage", "indexedDB", "document.cookie"),
)


def inline(html, tag):
    return re.search(rf"<{tag}[^>]*>(.*?)</{tag}>", html, re.DOTALL)[1]


async def test_a_browser_gets_the_page_and_other_clients_the_list():
    """HTML only where Accept names it: tools read the list at the same address, and caches keep the two apart."""
    html, plain, anything = await ask(), await ask(accept=""), await ask(accept="*/*")
    assert html.content_type == "text/html; charset=utf-8"
    assert html.body.startswith(b"<!doctype html>")
    assert plain.body == anything.body == b"/rlconfig: the active limits\n"
    assert {each.headers["Vary"] for each in (html, plain, anything)} == {"Accept"}


@pytest.mark.parametrize("path", ["/healthcheck", "/live", "/x", "/admin/key"])
async def test_other_paths_are_not_the_page(path):
    """The handler of / answers each path without a page of its own."""
    assert (await ask(path)).body == b"/rlconfig: the active limits\n"


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_only_a_question_is_answered_with_the_page(method):
    """A request that would change something gets what it got before there was a page."""
    assert (await ask(method=method)).content_type == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("accept", "accepted"),
    [
        (BROWSER, True),
        ("text/html", True),
        ("application/json, Text/HTML;q=0.5", True),
        ("text/html;q=0", False),
        ("text/html; q=0.000, */*", False),
        ("text/htmlx", False),
        ("*/*", False),
        ("application/json", False),
        ("", False),
    ],
)
def test_what_accept_must_say(accept, accepted):
    """The media type itself, with a weight above 0; a wildcard is what curl sends."""
    assert accepts_html(accept) is accepted


async def test_the_policy_allows_this_script_and_style_and_nothing_else():
    """The hashes are those of the text between the tags; no source of anything is named but the service itself."""
    response = await ask()
    html, policy = response.body.decode(), response.headers["Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    for tag in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(inline(html, tag).encode()).digest()).decode()
        assert rules.pop(f"{tag}-src") == f"'sha256-{digest}'"
    assert rules == {
        "default-src": "'none'",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }


async def test_the_page_is_not_framed_stored_sniffed_or_shared():
    """Beside the policy, what older browsers and other windows heed."""
    headers = dict((await ask()).headers)
    del headers["Content-Security-Policy"]
    assert headers == {
        "Cache-Control": "no-store",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "Vary": "Accept",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }


async def test_nothing_comes_from_elsewhere():
    """One document: no address but that of the SVG name space, no tag that loads, no inline handler or style."""
    html = (await ask()).body.decode()
    assert set(re.findall(r"https?://[^\s\"'`]+", html)) == {"http://www.w3.org/2000/svg"}
    markup = re.sub(r"(?s)(<(script|style)[^>]*>).*?(</\2>)", r"\1\3", html)
    assert re.findall(r"<(?:link|img|iframe|object|embed|base)\b|\s(?:src|style|on\w+)=", markup) == []
    assert "url(" not in inline(html, "style")
    assert "@import" not in inline(html, "style")


async def test_the_script_makes_no_markup_and_no_code_of_text():
    """Names and keys come from clients: they become text nodes, and never HTML or a program."""
    script = inline((await ask()).body.decode(), "script")
    assert [each for each in BANNED if each in script] == []


def test_every_file_is_part_of_the_page():
    """The tables name what is there, each file once, and each can be read as a whole."""
    named = {*STYLES, *SCRIPTS, "index.html"}
    assert named == {file.name for file in FILES.iterdir()}
    assert [file.name for file in FILES.iterdir() if len(file.read_text().splitlines()) > 400] == []


async def test_no_text_of_a_file_ends_its_element():
    """A closing tag in the script or style would make the rest of it markup."""
    html = (await ask()).body.decode()
    assert [html.count(text) for text in ("</script", "</style", "<!--", "{{")] == [1, 1, 0, 0]
