"""Files for the lint, and what it says of them."""

from pathlib import Path

from ratelimitd.policy import UPSTREAM_ALGORITHM, PolicyErrors
from ratelimitd.policy_file import read_overlay
from ratelimitd.sources import GATEWAY_ALGORITHM, GatewayFile, examine_source, named

ROOT = Path(__file__).parents[2]


def linted(*paths, merge_domains=False, overlay=None):
    """The warnings of valid files at these paths, read as ``validate`` reads them, with the overlay at a path."""
    source = named(tuple(map(str, paths)))
    algorithm = GATEWAY_ALGORITHM if isinstance(source, GatewayFile) else UPSTREAM_ALGORITHM
    read = None if overlay is None else read_overlay(str(overlay), overlay.read_bytes())
    found = examine_source(source, default_algorithm=algorithm, merge_domains=merge_domains, overlay=read)
    if found.parsed.errors:
        raise PolicyErrors(found.parsed.errors)
    return found.warnings


def linted_text(folder, text, overlay=None):
    """The warnings of one file with this text, and of an overlay."""
    path, beside = folder / "file.yaml", folder / "overlay.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    if overlay is not None:
        beside.write_text(overlay)
    return linted(path, overlay=None if overlay is None else beside)


def said(warnings):
    """(line, rule) of each warning."""
    return [(warning.line, warning.rule) for warning in warnings]
