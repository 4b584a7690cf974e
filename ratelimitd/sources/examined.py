"""Reads, parses and lints all files of a source; for commands, and for the child process of a service."""

import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ratelimitd.policy import FixedWindowKeys, PolicyError

from .files import BYTES_MOST, GatewayFile, Source, describe, read_files, skipped, tiers_beside
from .pushed import Pushed

if TYPE_CHECKING:
    from ratelimitd.policy_file import Overlay, Parsed


class Examined(NamedTuple):
    """What a source contains.

    Attributes:
        parsed: rows and errors.
        warnings: without errors, the entries that were skipped and the warnings of the lint.
        files: files read.
        version: see ``frames.EndFrame``; empty for files, whose contents the caller is given.
    """

    parsed: "Parsed"
    warnings: list[PolicyError]
    files: int
    version: str = ""


def examine_pushed(
    pushed: Pushed,
    *,
    default_algorithm: str,
    merge_domains: bool,
    fixed_window_keys: FixedWindowKeys,
    overlay: "Overlay | None" = None,
) -> Examined:
    """Examine a policy that a control plane sent. Raises PolicyErrors for resources that cannot be read."""
    from ratelimitd.lint import lint_pushed  # noqa: PLC0415 -- as below
    from ratelimitd.policy_file import examine  # noqa: PLC0415 -- as below

    from .resources import documents  # noqa: PLC0415 -- as below

    server = describe(pushed)
    found = documents(pushed.body, server)
    parsed = examine(found, default_algorithm=default_algorithm, merge_domains=merge_domains, overlay=overlay)
    linted = partial(lint_pushed, parsed, server, fixed_window_keys, overlay)
    return Examined(parsed, [] if parsed.errors else _linted(server, linted), 0, pushed.version)


def examine_source(
    source: Source,
    *,
    default_algorithm: str,
    merge_domains: bool = False,
    fixed_window_keys: FixedWindowKeys = FixedWindowKeys.UPSTREAM,
    most: int = BYTES_MOST,
    on_content: Callable[[bytes], object] = lambda _: None,
    overlay: "Overlay | None" = None,
) -> Examined:
    """Examine a source. Raises PolicyErrors if files cannot be read, or are more than ``most`` bytes.

    ``on_content`` receives the content of each file, including tiers files, as read.
    """
    from ratelimitd.lint import lint  # noqa: PLC0415 -- as below
    from ratelimitd.policy_file import examine  # noqa: PLC0415 -- a service examines its files in a child process

    contents: list[bytes] = []
    texts: dict[str, bytes] = {}

    def record(content: bytes) -> None:
        contents.append(content)
        on_content(content)

    def beside(file: str, named: str) -> tuple[str, bytes]:
        name, content = read_beside(file, named)
        on_content(content)
        texts[name] = content
        return name, content

    read_beside = tiers_beside(source)
    files = read_files(source, record, most)
    parsed = examine(
        files, default_algorithm=default_algorithm, merge_domains=merge_domains, beside=beside, overlay=overlay
    )
    gateway = source.path if isinstance(source, GatewayFile) else ""
    texts |= {gateway: contents[0]} if gateway else {}
    texts |= {name: content for name, content in files if isinstance(content, bytes)}
    if parsed.errors:
        return Examined(parsed, [], len(files))
    linted = _linted(describe(source), partial(lint, parsed, texts, gateway, fixed_window_keys, overlay))
    return Examined(parsed, [*skipped(source), *linted], len(files))


def _linted(source: str, lint: Callable[[], list[PolicyError]]) -> list[PolicyError]:
    """Return the warnings of the lint; a fault of the lint is one of them, since it must not cost a valid policy."""
    try:
        return lint()
    except Exception as error:  # noqa: BLE001 -- as above
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{type(error).__name__} in {Path(place.filename).name}, line {place.lineno}"
        text = f"the lint failed, so its warnings are missing: {where}"
        return [PolicyError(source, 0, text, remedy="the policy is not affected; report this fault")]
