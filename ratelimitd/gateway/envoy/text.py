"""A bootstrap as YAML that is readable and can be compared by tools."""

import re
from collections.abc import Mapping
from typing import Any, Final

import yaml

WIDTH: Final = 120

_PLAIN: Final = re.compile(r"[A-Za-z_/][\w ./:-]+|[0-9.]+s")
_WORDS: Final = frozenset(("yes", "no", "on", "off", "true", "false", "null", "inf", "infinity", "nan"))
"""Words to quote. Envoy's parser resolves more scalars than PyYAML does: ``n`` is false, ``1e3`` is a number."""


class _Dumper(yaml.SafeDumper):
    """Dumper that indents lists below their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 -- PyYAML's
        """Increase the indentation for lists too."""
        super().increase_indent(flow, indentless=False)


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    plain = _PLAIN.fullmatch(text) is not None and text.lower() not in _WORDS
    style = None if plain else "|" if "\n" in text else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def as_yaml(built: Mapping[str, Any], comment: str) -> str:
    """Return a bootstrap as YAML after a one-line comment. The output is deterministic."""
    body = yaml.dump(dict(built), Dumper=_Dumper, sort_keys=False, width=WIDTH, allow_unicode=True)
    return f"# {comment}\n{body}"
