"""The page of the live view: one HTML document with nothing from elsewhere, made from files of this package."""

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from .http import PageHandler, PageRequest, PageResponse

FILES: Final = Path(__file__).parent / "page_files"

STYLES: Final = ("page.css",)
SCRIPTS: Final = (
    "state.js",
    "dom.js",
    "format.js",
    "api.js",
    "stream.js",
    "model.js",
    "chart.js",
    "parts.js",
    "dialogs.js",
    "frame.js",
    "overview.js",
    "limits.js",
    "limit.js",
    "what_if.js",
    "key.js",
    "replicas.js",
    "main.js",
)
"""One module of JavaScript: the last file begins, and the others only define."""

PLACE: Final = re.compile(r"\{\{(style|script)\}\}")

HTML: Final = "text/html; charset=utf-8"
SAFE: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def page(listing: PageHandler) -> PageHandler:
    """Make the handler of ``/``: the page for a browser at exactly this path, else what ``listing`` answers."""
    style, script = _joined(STYLES), _joined(SCRIPTS)
    body = document(style, script).encode()
    headers = {**SAFE, "Content-Security-Policy": content_security_policy(style, script)}

    async def handler(request: PageRequest) -> PageResponse:
        if request.path != "/" or request.method not in {"GET", "HEAD"}:
            return await listing(request)
        if accepts_html(request.headers.get("Accept", "")):
            return PageResponse(200, body, HTML, headers)
        listed = await listing(request)
        return listed._replace(headers={**listed.headers, "Vary": "Accept"})

    return handler


def document(style: str, script: str) -> str:
    """Return the HTML document with this style and script."""
    texts = {"style": style, "script": script}
    return PLACE.sub(lambda place: texts[place[1]], (FILES / "index.html").read_text())


def content_security_policy(style: str, script: str) -> str:
    """Return the policy by which a browser runs this script and no other (W3C CSP 3; Trusted Types)."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {_hash(script)}",
            f"style-src {_hash(style)}",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )


def accepts_html(accept: str) -> bool:
    """Whether an Accept header names text/html, as those of browsers do, with a weight above 0 (RFC 9110 12.5.1)."""
    for item in accept.lower().split(","):
        media, *parameters = (part.strip() for part in item.split(";"))
        if media == "text/html":
            return not any(re.fullmatch(r"q=0(\.0*)?", parameter) for parameter in parameters)
    return False


def _joined(names: tuple[str, ...]) -> str:
    return "\n".join([(FILES / name).read_text() for name in names])


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
