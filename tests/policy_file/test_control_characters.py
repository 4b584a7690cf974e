"""Control characters in a policy file: an error with file and line, wherever a name or a value is written."""

import pytest

from ratelimitd.config.problems import Notes
from ratelimitd.config.readers import WrongValueError, as_it_is
from ratelimitd.config.yaml_nodes import YamlScalar
from ratelimitd.policy_file import LEVELS, examine

HEAD = "domain: d\ndescriptors:\n"
BELL = "a\x07b"
KEYS = "domain: d\nidentity: {key: api_key, tiers: {gold: [k]}}\n"

PLACES = [
    ("domain: 'd~'\ndescriptors: []\n", 1, "domain"),
    (HEAD + "- {key: 'k~'}\n", 3, "key"),
    (HEAD + "- {key: k, value: 'v~'}\n", 3, "value"),
    (HEAD + "- key: k\n  rate_limit:\n    unit: day\n    name: 'n~'\n", 6, "name"),
    (HEAD + "- key: k\n  rate_limits:\n  - unit: day\n    name: 'n~'\n", 6, "name"),
    (HEAD + "- key: k\n  rate_limit:\n    unit: day\n    replaces:\n    - name: 'n~'\n", 7, "name"),
    (HEAD + "- key: k\n  rate_limit: {unit: 'day~'}\n", 4, "unit"),
    (KEYS.replace("api_key", "'api~key'"), 2, "key"),
    (KEYS.replace("key: api_key", "key: api_key, otherwise: 'a~'"), 2, "otherwise"),
    (KEYS.replace("gold", "'gold~'"), 2, "a tier name must be"),
    (KEYS.replace("[k]", "['s3cret~']"), 2, "a key must be"),
]


def errors(text):
    return examine([("p.yaml", text.encode())], beside=lambda _file, _named: ("keys.yaml", b"")).errors


@pytest.mark.parametrize(("text", "line", "named"), PLACES, ids=[named for *_, named in PLACES])
@pytest.mark.parametrize(
    ("escape", "code"), [(r"\n", "U+000A"), (r"\r", "U+000D"), (r"\0", "U+0000"), (r"\x7f", "U+007F")]
)
def test_a_control_character_is_one_error_with_its_line(text, line, named, escape, code):
    """It names the field and the character, and quotes no API key."""
    (error,) = errors(text.replace("'", '"').replace("~", escape))
    assert (error.file, error.line) == ("p.yaml", line)
    assert named in error.message
    assert f"a text without control characters: remove {code}, its character" in error.message
    assert "s3cret" not in error.message


def test_without_a_control_character_they_are_right():
    """So the errors above are of it alone."""
    assert [errors(text.replace("~", "")) for text, _, _ in PLACES] == [[]] * len(PLACES)


def test_every_text_of_a_policy_is_checked():
    """A key that is added later is too: a reader of text refuses a control character, or is no reader of text."""
    for level, keys in LEVELS.items():
        for key, reader in keys.items():
            if reader is not as_it_is:
                with pytest.raises(WrongValueError):
                    pytest.fail(f"{key} of {level}: {reader(Notes(), YamlScalar(BELL, False, None, 1))}")


def test_a_tab_is_part_of_a_value_and_not_of_a_name():
    """A header may carry it."""
    assert errors(HEAD + '- {key: k, value: "a\\tb"}\n') == []
    assert len(errors(HEAD + '- {key: "a\\tb"}\n')) == 1


def test_a_block_of_text_says_how_to_write_it():
    """The common way to a line feed at the end, which no request sends."""
    (error,) = errors(HEAD + "- key: k\n  value: |\n    gold\n")
    assert error.line == 4
    assert error.message.endswith("a text below '|' or '>' ends with one, so write it in one line")


def test_bytes_that_are_meant_are_written_as_binary():
    """A value, which some other client may send; a name is refused in that form too."""
    assert errors(HEAD + "- {key: k, value: !!binary AGEK}\n") == []
    assert len(errors(HEAD + "- {key: !!binary AGEK}\n")) == 1
