"""Control characters in names and values: which are refused, and what an error says about one."""

import re
from typing import Final

_IN_NAMES: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Unicode's categories Cc, Zl and Zp. A name is written to logs, metrics, headers and terminals, one to a line."""

_IN_VALUES: Final = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
"""The characters that no value of an HTTP header has (RFC 9110, 5.5), so that a limit of such a value never applies."""

_BLOCK: Final = "; a text below '|' or '>' ends with one, so write it in one line"


def control_in_name(text: str) -> str:
    """Return what to do about the first control character of a name; empty if it has none."""
    return _remedy(_IN_NAMES.search(text))


def control_in_value(text: str) -> str:
    """Return what to do about the first character of a value that no header value has; empty if it has none."""
    return _remedy(_IN_VALUES.search(text))


def _remedy(found: re.Match[str] | None) -> str:
    """Name the character by its code point and its place, counted from 1; the text itself may be a secret."""
    if found is None:
        return ""
    block = _BLOCK if found[0] == "\n" and found.end() == len(found.string) else ""
    return f"remove U+{ord(found[0]):04X}, its character {found.start() + 1}{block}"
