"""``ratelimitd ratelimit``: what /bin/ratelimit of the image runs, in place of envoyproxy/ratelimit's program."""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from ratelimitd.settings import changed

from .flags import settings_flags
from .serve import hold_reloads, read_settings, run_service


@click.command(
    hidden=True,
    context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]},
)
@click.option("--config", multiple=True, type=click.Path(exists=True), metavar="PATH", help="Policy file or folder.")
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@settings_flags
def ratelimit(config: tuple[str, ...], words: tuple[str, ...], **flags: str | None) -> None:
    """Run the service as `serve` does, and ignore arguments that it does not know.

    envoyproxy/ratelimit reads no arguments, so manifests for it may have some.
    """
    hold_reloads()
    settings = read_settings(flags)
    paths = () if settings.over_xds else tuple(word for word in words if _is_path(word))
    ignored = [word for word in words if word not in paths]
    if ignored:
        settings = changed(settings, warnings=(*settings.warnings, _told(ignored)))
    sys.exit(run_service(settings, (*paths, *config)))


def _is_path(word: str) -> bool:
    return not word.startswith("-") and Path(word).exists()


def _told(ignored: Sequence[str]) -> str:
    """Return a warning that names the flags; other words may be their values, some of which are secrets."""
    names = [word.partition("=")[0] for word in ignored if word.startswith("-")]
    others = len(ignored) - len(names)
    counted = [f"{others} other word{'s' if others > 1 else ''}"] if others else []
    return f"arguments that are ignored, as envoyproxy/ratelimit ignores all: {', '.join([*names, *counted])}"
