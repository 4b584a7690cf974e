"""Generated parts of pages in docs/."""

import re


def replaced(page: str, part: str, text: str) -> str:
    """Replace the text between ``<!-- part -->`` and ``<!-- end part -->``; ValueError unless the page has one pair."""
    pattern = re.compile(rf"(<!-- {part} -->\n).*?(<!-- end {part} -->)", re.DOTALL)
    page, count = pattern.subn(lambda found: f"{found[1]}{text}{found[2]}", page)
    if count != 1:
        raise ValueError(f"the page has no single place <!-- {part} --> … <!-- end {part} -->")
    return page
