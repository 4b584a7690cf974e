"""Configured text in header fields."""


def structured_string(text: str) -> str:
    """Return a text as a structured-field string (RFC 9651 3.3.3); empty if it is empty or not printable ASCII."""
    if not (text and text.isascii() and text.isprintable()):
        return ""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
