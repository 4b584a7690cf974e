"""Output as a page shows it, compared with what a command printed.

``…`` in a line stands for any text, and a line of ``…`` alone for any number of lines. In JSON, layout does not matter,
a number with a fraction stands for any number, and ``…`` in a string for any text.
"""

import json
import re
from typing import Any, Final

ANY: Final = "…"


def differs(shown: str, printed: str, language: str) -> bool:
    """Return whether the output is not what the page shows."""
    if language == "json":
        return not _same(json.loads(shown), _read(printed))
    return not re.fullmatch(_pattern(shown), _trimmed(printed))


def _trimmed(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in text.strip("\n").splitlines())


def _pattern(shown: str) -> str:
    return "".join(
        r"(?:.*\n)*?" if line.strip() == ANY else r".*".join(map(re.escape, line.split(ANY))) + r"\n"
        for line in _trimmed(shown).splitlines()
    )


def _read(printed: str) -> Any:
    try:
        return json.loads(printed)
    except ValueError:
        return None


def _same(shown: Any, printed: Any) -> bool:
    match shown:
        case dict():
            return (
                isinstance(printed, dict)
                and shown.keys() == printed.keys()
                and all(_same(value, printed[name]) for name, value in shown.items())
            )
        case list():
            return isinstance(printed, list) and len(shown) == len(printed) and all(map(_same, shown, printed))
        case str():
            return isinstance(printed, str) and not differs(shown, printed, "text") if shown else shown == printed
        case float():
            return isinstance(printed, (int, float))
        case _:
            return type(shown) is type(printed) and bool(shown == printed)
