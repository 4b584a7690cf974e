"""A bootstrap as YAML that a person can read and a tool can compare."""

import re
from collections.abc import Mapping
from typing import Any, Final

import yaml

WIDTH: Final = 120

_PLAIN: Final = re.compile(r"[A-Za-z_/][\w ./:-]+|[0-9.]+s")
_WORDS: Final = frozenset(("yes", "no", "on", "off", "true", "false", "null", "inf", "infinity", "nan"))
"""Envoy's parser takes more words and numbers for something else than PyYAML does: ``n`` is false, ``1e3`` a number."""


class _Dumper(yaml.SafeDumper):
    """Lists stand in from their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002  PyYAML's
        """Indent a list too."""
        super().increase_indent(flow, indentless=False)


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    plain = _PLAIN.fullmatch(text) is not None and text.lower() not in _WORDS
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else "'")


_Dumper.add_representer(str, _text)


def as_yaml(built: Mapping[str, Any], comment: str) -> str:
    """Write a bootstrap below a comment of one line; the same bootstrap gives the same text."""
    body = yaml.dump(dict(built), Dumper=_Dumper, sort_keys=False, width=WIDTH, allow_unicode=True)
    return f"# {comment}\n{body}"
