"""Control characters: which ones a name and a value may not have, and what is said of one."""

import re
import unicodedata

from ratelimitd.config.control_characters import control_in_name, control_in_value

LATIN = [chr(code) for code in range(0x100)]
FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]")
"""RFC 9110, 5.5: HTAB, SP, VCHAR and obs-text."""


def test_a_name_has_no_character_that_breaks_a_line_or_steers_a_terminal():
    """Unicode's control characters and its two separators of lines; scripts need the zero-width joiner."""
    for character in [*LATIN, "\u2028", "\u2029", "\u200d", "é", "漢"]:
        wrong = unicodedata.category(character) in {"Cc", "Zl", "Zp"}
        assert bool(control_in_name(f"a{character}")) is wrong, ascii(character)


def test_a_value_has_every_character_that_a_header_can_carry():
    """A request may send those; a limit of a value with another one would never apply."""
    for character in LATIN:
        assert bool(control_in_value(f"a{character}")) is (FIELD_VALUE.fullmatch(character) is None), ascii(character)
    assert control_in_value("a\u2028\u202e") == ""


def test_what_is_said_names_the_character_and_not_the_text():
    """The text may be a secret; a line feed at the end mostly comes from YAML's blocks."""
    assert control_in_value("s3cret\x00") == "remove U+0000, its character 7"
    assert control_in_name("a\nb") == "remove U+000A, its character 2"
    assert control_in_name("a\tb") == "remove U+0009, its character 2"
    assert control_in_name("a\n").startswith("remove U+000A, its character 2; a text below '|' or '>'")
