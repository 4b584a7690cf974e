"""``ratelimitd check --explain``: how a request is matched, by policy files or by a running service."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import urlencode

import click

from ratelimitd.descriptor_text import Entries, show
from ratelimitd.printable import printable

from .debug_port import TOKENS, TokenError, token_of
from .flags import ERROR, OK, OVER_LIMIT, examined

OTHER: Final = "{} is not the debug port of ratelimitd"

ANSWER_BYTES: Final = 1 << 20
"""Maximum size of the response: far more than 64 descriptors need."""


def explain(
    domain: bytes,
    descriptors: Sequence[Entries],
    timeout: float,
    *,
    config: Sequence[Path],
    overlay: Path | None,
    admin: tuple[str, int],
    as_json: bool,
) -> NoReturn:
    """Print the explanation, and exit: 0 if a limit applies to each descriptor, 1 if none applies to one, 2: error."""
    try:
        told = (
            _by_files(config, overlay, domain, descriptors)
            if config
            else _by_service(admin, domain, descriptors, timeout)
        )
    except ExplainError as error:
        click.echo("ratelimitd: " + printable(str(error), keep="\n"), err=True)
        sys.exit(ERROR)
    click.echo(json.dumps(told, indent=2) if as_json else "\n".join(map(printable, _lines(told))))
    found = told["descriptors"]
    sys.exit(OK if found and all(each["limits"] for each in found) else OVER_LIMIT)


class ExplainError(Exception):
    """There is no explanation; the message says why and what to do."""


def _by_files(
    config: Sequence[Path], overlay: Path | None, domain: bytes, descriptors: Sequence[Entries]
) -> dict[str, Any]:
    from ratelimitd.admin import explained  # noqa: PLC0415 -- the engine
    from ratelimitd.limiter import LimitRequest  # noqa: PLC0415 -- the engine
    from ratelimitd.policy import assemble, described  # noqa: PLC0415 -- the engine
    from ratelimitd.settings import Settings  # noqa: PLC0415 -- with the engine
    from ratelimitd.sources import BYTES_MOST  # noqa: PLC0415 -- with the engine

    # No setting changes how a descriptor of the command line is matched.
    parsed = examined(
        map(str, config),
        Settings.default_algorithm.default,
        merge_domains=True,
        most=BYTES_MOST,
        overlay="" if overlay is None else str(overlay),
    ).parsed
    if parsed.errors:
        raise ExplainError("\n".join(map(str, parsed.errors)))
    return explained(assemble(parsed.rows), LimitRequest(domain, tuple(map(described, descriptors))))


def _by_service(
    admin: tuple[str, int], domain: bytes, descriptors: Sequence[Entries], timeout: float
) -> dict[str, Any]:
    from ratelimitd.http1 import Endpoint, FetchError, fetch  # noqa: PLC0415 -- with the event loop

    query = [("domain", domain), *(("descriptor", show(each).encode()) for each in descriptors)]
    host, port = admin
    endpoint = Endpoint(host or "localhost", port, tls=False)
    headers = [(b"Authorization", b"Bearer " + _token(os.environ).encode())]
    target = b"/admin/explain?" + urlencode(query).encode()
    try:
        asked = fetch(
            endpoint,
            b"GET",
            target,
            seconds=timeout,
            max_body=ANSWER_BYTES,
            headers=headers,
        )
        answer = asyncio.run(asked)
    except FetchError as error:
        raise ExplainError(f"{error}. Give the debug port of the service (--admin), or --config PATH") from error
    if answer.status == 404:
        raise ExplainError(f"{endpoint} has no admin API: start the service with {TOKENS}, or give --config PATH")
    told = _object(answer.body, str(endpoint))
    if answer.status == 200 and "known_domain" not in told:
        raise ExplainError(OTHER.format(endpoint))
    if answer.status != 200:
        raise ExplainError(f"{endpoint} answered {answer.status}: {told.get('error', '')}")
    return told


def _object(body: bytes, endpoint: str) -> dict[str, Any]:
    told = None
    with suppress(ValueError):
        told = json.loads(body)
    if not isinstance(told, dict):
        raise ExplainError(OTHER.format(endpoint))
    return told


def _token(environ: Mapping[str, str]) -> str:
    try:
        token = token_of(environ)
    except TokenError as error:
        raise ExplainError(str(error)) from error
    if not token:
        raise ExplainError(f"set {TOKENS} to that of the service, or explain by files: --config PATH")
    return token


def _lines(told: Mapping[str, Any]) -> list[str]:
    if not told["known_domain"]:
        return [
            f"the policy does not define the domain {told['domain']}; it defines {', '.join(told['domains']) or 'none'}"
        ]
    return [
        line for each in told["descriptors"] for line in (each["descriptor"], *(f"  {text}" for text in each["text"]))
    ]
