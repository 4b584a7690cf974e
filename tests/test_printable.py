"""Text for logs and terminals, and the pages and commands that print it."""

import pytest
from click.testing import CliRunner

from ratelimitd.admin.stats import statsd_text
from ratelimitd.cli import main
from ratelimitd.config.problems import PolicyError
from ratelimitd.limiter.stats import Tally
from ratelimitd.observe.metrics import Counters
from ratelimitd.printable import printable
from ratelimitd.settings import SettingsError, load

STEERING = "\x1b[2J\r\n\x7f\x9b\u2028\u2029\u202e\u2066\u200b\ufeff\U000e0041"


@pytest.mark.parametrize("text", ["", "plain", "é 漢字 🙂", "quote ' \\ \""])
def test_what_is_printable_stays(text):
    """Letters of all scripts, and backslashes: a text that needs no escape is not changed."""
    assert printable(text) == text


def test_whatever_steers_or_hides_is_escaped():
    """Control characters, separators of lines, format characters such as U+202E, halves of surrogate pairs."""
    assert printable(f"a{STEERING}b\udcff").isprintable()
    assert printable("a\u202eb\x1b\n\U000e0041") == "a\\u202eb\\x1b\\n\\U000e0041"
    assert printable("a\nb\tc\x1b", keep="\n\t") == "a\nb\tc\\x1b"


def test_errors_of_files_and_settings_are_one_printable_line():
    """The name of a file, a key and a value are whatever somebody wrote."""
    assert str(PolicyError(f"{STEERING}.yaml", 1, f"unknown key '{STEERING}'")).isprintable()
    with pytest.raises(SettingsError) as caught:
        load({"PORT": STEERING}, {})
    assert str(caught.value).isprintable()


def test_validate_steers_no_terminal(tmp_path):
    """Not by the text of an unknown key, nor by the name of a file."""
    (tmp_path / "p\x1b]0;x\x07.yaml").write_text('domain: d\n"\\e[2J\\u202E": x\n')
    result = CliRunner().invoke(main, ["validate", str(tmp_path)])
    assert result.exit_code == 1
    assert "unknown key '\\x1b[2J\\u202e'" in result.output
    assert all(line.isprintable() for line in result.output.splitlines())


@pytest.mark.parametrize("name", ["CACHE_KEY_PREFIX", "GRPC_CLIENT_TLS_SAN", "PROMETHEUS_PATH"])
def test_a_setting_without_control_characters(name):
    """A line feed from a mounted file is told at the start, not found later in a key of Redis."""
    with pytest.raises(SettingsError, match=rf"{name}=.*(contains a control character; remove U\+0001)"):
        load({name: "/a\x01"}, {})


def test_a_secret_is_taken_as_it_is():
    """A line feed at its end is part of the HMAC's key, so refusing it would change every key."""
    assert load({"IDENTITY_SECRET": "long enough\n"}, {}).identity_secret == "long enough\n"


async def test_stats_have_one_printable_line_for_a_name_of_a_request():
    """A caller chooses an unknown domain, and the values of detailed_metric."""
    tally = Tally((STEERING,), "")
    tally.total_hits = 1
    text = b"".join([chunk async for chunk in statsd_text([tally], [(STEERING, 1)], Counters())]).decode()
    lines = text.removesuffix("\n").split("\n")
    assert all(line.isprintable() for line in lines)
    assert [line.rpartition(": ")[2] for line in lines[-2:]] == ["1", "1"]
