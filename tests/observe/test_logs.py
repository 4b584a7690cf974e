"""Logs: their form, what they never show, and edges."""

import io
import json
import logging
import warnings

import pytest
import structlog

from ratelimitd.observe import logs
from ratelimitd.settings import Settings
from ratelimitd.settings.serving import LOG_LEVELS

pytestmark = pytest.mark.usefixtures("restored")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def out():
    stream = io.StringIO()
    logs.configure("debug", "auto", stream)
    return stream


def log():
    return structlog.stdlib.get_logger("ratelimitd.test")


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_has_upstreams_keys(out):
    """A line that does not go to a terminal is JSON with @timestamp, @message and level, as envoyproxy/ratelimit's."""
    log().info("policy loaded", domains=2, ratio=0.5, none=None, key=b"a\xff")

    (line,) = lines(out)
    assert str(line.pop("@timestamp")).endswith("Z")
    assert line == {
        "@message": "policy loaded",
        "level": "info",
        "domains": 2,
        "ratio": 0.5,
        "none": None,
        "key": "a\\xff",
    }


def test_text_on_a_terminal():
    """On a terminal, people read lines, not JSON."""
    stream = Terminal()
    logs.configure("info", "auto", stream)
    log().info("policy loaded", domains=2)

    assert not stream.getvalue().startswith("{")
    assert "policy loaded" in stream.getvalue()


def test_no_color_on_a_terminal(monkeypatch):
    """NO_COLOR turns colors off, and an empty one does not."""
    for value, colors in (("1", False), ("", True)):
        monkeypatch.setenv("NO_COLOR", value)
        stream = Terminal()
        logs.configure("info", "auto", stream)
        log().info("serving")
        assert ("\x1b[" in stream.getvalue()) is colors


STEERING = "shop\x1b[2J\x1b]0;x\x07\r\n12:00:00 [info] forged\x7f\x9b2J\u2028\u202e\u2066\u200b\ufeff\U000e0041"


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_value_of_a_request_cannot_steer_a_terminal(form):
    """Control characters in a message, a field, a list or an exception are escaped; a line stays one line."""
    stream = io.StringIO()
    logs.configure("info", form, stream)
    log().warning("unknown domain %s", STEERING, domain=STEERING, raw=STEERING.encode(), listed=[STEERING])
    (line,) = stream.getvalue().splitlines()
    assert line.isprintable()
    assert "forged" in line
    try:
        raise ValueError(STEERING)  # noqa: TRY301 -- an exception with a traceback is what is logged
    except ValueError:
        log().exception("failed")
    assert not set(stream.getvalue()) & set(STEERING.replace("\n", "")) - set(map(chr, range(32, 127)))


def test_a_traceback_keeps_its_lines():
    """Only what a terminal would obey is escaped in a traceback."""
    stream = io.StringIO()
    logs.configure("info", "text", stream)
    try:
        raise ValueError("a\x1bb")  # noqa: TRY301 -- as above
    except ValueError:
        log().exception("failed")
    assert len(stream.getvalue().splitlines()) > 3
    assert "ValueError: a\\x1bb" in stream.getvalue()


def test_json_reads_back_what_was_escaped():
    """An escape in a JSON line is one of JSON's, so that a parser has the value as it was."""
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    log().info("x", domain=STEERING)
    assert lines(stream)[0]["domain"] == STEERING


def test_json_forced_on_a_terminal():
    """LOG_FORMAT=json holds on a terminal too."""
    stream = Terminal()
    logs.configure("info", "json", stream)
    log().info("x")

    assert lines(stream)[0]["@message"] == "x"


def test_text_with_an_exception():
    """A traceback in text form is masked, and printed without a complaint of the library."""
    stream = io.StringIO()
    logs.configure("info", "text", stream)
    logs.hide("canary")
    try:
        raise RuntimeError("canary")  # noqa: TRY301 -- an exception with a traceback is what is logged
    except RuntimeError:
        log().exception("x")

    assert "RuntimeError: ***" in stream.getvalue()
    assert "canary" not in stream.getvalue()


def test_level():
    """What is below the level is not logged, ours or a library's."""
    stream = io.StringIO()
    logs.configure("warn", "json", stream)
    log().info("a")
    logging.getLogger("grpc").info("b")
    log().warning("c")

    assert [line["@message"] for line in lines(stream)] == ["c"]


def test_levels_are_the_settings():
    """Every level LOG_LEVEL takes is known here."""
    assert set(logs.LEVELS) == set(LOG_LEVELS)
    assert Settings.log_level.default in logs.LEVELS


def test_libraries_come_the_same_way(out):
    """Lines of libraries and warnings of Python have the same form."""
    logging.getLogger("asyncio").error("failed on %s", "x")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", stacklevel=1)

    first, second = lines(out)
    assert (first["@message"], first["level"]) == ("failed on x", "error")
    assert "old" in str(second["@message"])


@pytest.mark.scenario("logs that fill up or contain secrets")
def test_hidden_values_are_masked_everywhere(out):
    """A hidden value is masked in texts, fields, nested fields, keys, objects, exceptions and lines of libraries."""
    logs.hide("ca na/ry")
    error = ValueError("ca na/ry")
    log().info("ca na/ry", field="x ca na/ry", nested={"ca na/ry": ["ca na/ry", {"a": b"ca na/ry"}]}, error=error)
    log().info("as a URL spells it", url="ca%20na%2Fry")
    try:
        raise error
    except ValueError:
        log().exception("failed")
        logging.getLogger("asyncio").exception("failed with %s", error)

    assert len(lines(out)) == 4
    assert "na" not in out.getvalue().replace("name", "")


@pytest.mark.scenario("logs that fill up or contain secrets")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("to redis://u:p@h:1/0 now", "to redis://***@h:1/0 now"),
        ("redis://:p@ss@h", "redis://***@h"),
        ("redis://u:a/b@h", "redis://***@h"),
        ("http://h/a", "http://h/a"),
        ("user@host", "user@host"),
    ],
)
def test_credentials_of_urls_are_masked(text, shown):
    """Credentials in a URL are masked though nobody named them."""
    assert logs.masked(text) == shown


def test_the_longest_secret_is_masked_first():
    """A secret that holds another one leaves no rest."""
    logs.hide("pass")
    logs.hide("password")

    assert logs.masked("password pass") == "*** ***"


def test_short_secrets_do_not_blank_the_log():
    """An empty or tiny secret does not mask half of every line."""
    logs.hide("")
    logs.hide("a")

    assert logs.masked("a banana") == "a banana"
