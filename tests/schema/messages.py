"""The errors that are written in the code of the parsers."""

import ast
import re

from tests.schema.corpus import ROOT

_PACKAGE = ROOT / "ratelimitd"
FILES = [
    *sorted((_PACKAGE / "policy_file").glob("*.py")),
    *(_PACKAGE / "gateway" / name for name in ("file.py", "fields.py", "cors_fields.py", "rate_limits.py")),
    _PACKAGE / "config" / "readers.py",
    *(_PACKAGE / "algorithms" / name for name in ("rate.py", "holds.py", "sliding_window.py")),
]

VALUES = ("WrongValueError", "RateError")
"""Errors whose text is what a value must be, or stands alone."""


_ELSEWHERE = re.compile(r"^[5: ]*$|(must be|file:) (auto, or )?5( \(without quotes\)|, not a 5|: write 5)?$")
"""Errors that say nothing by themselves."""


def _text(node):
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) if isinstance(part, ast.Constant) else "5" for part in node.values)
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    return ""


def _of_call(call):
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    text = _text(call.args[-1]) if call.args else ""
    if name == "error" or name == "RateError":
        return text
    return f"'5' must be {text}" if name == "WrongValueError" and text else ""


def messages(path):
    """Return the errors in a module, with 5 for what is filled in; not those that are made elsewhere."""
    found = [_of_call(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return [text for text in found if text and not _ELSEWHERE.search(text)]
