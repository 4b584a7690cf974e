"""Text that a terminal and a log only show: whatever would steer, reorder or hide it is escaped."""


def printable(text: str, keep: str = "") -> str:
    r"""Return a text with every character that is not printable, save those of ``keep``, as in Python's literals.

    These are control characters, which a terminal obeys; the separators of lines and paragraphs; format characters
    such as U+202E, which reverses what follows; spaces that look like the common one; and halves of surrogate pairs.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in keep else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
