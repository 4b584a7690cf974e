"""Attacks on the HTTP ports, and on all ports by connections that say nothing."""

import os
import signal
from pathlib import Path
from typing import Final

from .attacker import Attacker
from .frames import DOMAIN, Calls, block, request

EMPTY: Final = 2_600
"""Empty descriptors in a body of 8 kB, which is as much as /json takes."""

SILENT: Final = 1_010
"""Connections; a service with 1,024 files has no file left for another one."""


def _http(method: str, path: str, body: bytes = b"", *more: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *more]
    return "\r\n".join([*lines, "", ""]).encode() + body


def json(attacker: Attacker) -> None:
    """POST /json with 2,600 empty descriptors, one request after the other."""
    body = f'{{"domain":"{DOMAIN}","descriptors":[{",".join(["{}"] * EMPTY)}]}}'.encode()
    out = _http("POST", "/json", body, "Content-Type: application/json")
    attacker.ready()
    while attacker.going:
        peer = attacker.plain(attacker.target.http)
        while attacker.going and not peer.closed:
            peer.send(out)
            peer.heard(0.5)


def _silent(attacker: Attacker, address: str) -> None:
    attacker.ready()
    peers = [attacker.plain(address) for _ in range(SILENT)]
    while attacker.going:
        for peer in peers:
            peer.read()
        peers = [attacker.plain(address) if peer.closed else peer for peer in peers]
        attacker.every(0.1)


def silent_http(attacker: Attacker) -> None:
    """1,010 connections to the HTTP port that say nothing; those that are closed come again."""
    _silent(attacker, attacker.target.http)


def silent_debug(attacker: Attacker) -> None:
    """The same to the debug port."""
    _silent(attacker, attacker.target.debug)


def silent_grpc(attacker: Attacker) -> None:
    """The same to the gRPC port."""
    _silent(attacker, attacker.target.grpc)


def scrapes(attacker: Attacker) -> None:
    """500 calls with overrides and 32 entries of 240 characters, then 40 scrapes at a time that read nothing."""
    entries = [(f"{n:03d}" + "k" * 117, "v" * 120) for n in range(31)]
    calls = Calls([request((f"scraped-{n}", "v"), *entries, limit=9) for n in range(500)], block())
    scrape = _http("GET", "/metrics")
    attacker.ready()
    attacker.grpc().ask(calls)
    attacker.rest(*(attacker.plain(attacker.target.http, scrape, reads=False, buffer=4_096) for _ in range(40)))


def reload(attacker: Attacker) -> None:
    """A policy of 20,000 rules, changed and reloaded as often as the service takes it."""
    file = Path(attacker.target.policy)
    before = file.read_text()
    rules = "".join(
        f"  - {{key: reloaded, value: v{n}, rate_limit: {{unit: hour, requests_per_unit: %d}}}}\n"
        for n in range(20_000)
    )
    attacker.ready()
    number = 0
    while attacker.going:
        number += 1
        fresh = file.with_suffix(".new")
        fresh.write_text(before + rules.replace("%d", str(1_000_000 + number)))
        fresh.replace(file)
        os.kill(attacker.target.pid, signal.SIGHUP)
        attacker.every(1.0)
