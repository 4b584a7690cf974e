"""Files for the lint, and what it says of them."""

from pathlib import Path

from ratelimitd.policy import UPSTREAM_ALGORITHM, PolicyErrors
from ratelimitd.sources import GATEWAY_ALGORITHM, GatewayFile, examine_source, named

ROOT = Path(__file__).parents[2]


def linted(*paths, merge_domains=False):
    """The warnings of valid files at these paths, read as ``validate`` reads them."""
    source = named(tuple(map(str, paths)))
    algorithm = GATEWAY_ALGORITHM if isinstance(source, GatewayFile) else UPSTREAM_ALGORITHM
    found = examine_source(source, default_algorithm=algorithm, merge_domains=merge_domains)
    if found.parsed.errors:
        raise PolicyErrors(found.parsed.errors)
    return found.warnings


def linted_text(folder, text):
    """The warnings of one file with this text."""
    path = folder / "file.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return linted(path)


def said(warnings):
    """(line, rule) of each warning."""
    return [(warning.line, warning.rule) for warning in warnings]
