"""The access log, without a socket."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from ratelimitd.gateway.access_log import AccessLog, AccessRecord, RequestMetrics
from ratelimitd.gateway.access_text import access_line

ODD = 'quote " backslash \\ newline \n nul \0 é € 𝄞 \udcff </script>'


def handled(**changed):
    texts = ("GET", "/", "id", "192.0.2.1", "route", "upstream")
    plain = AccessRecord(*texts, 200, "limit", "reason", 1_234_567, 10, 20, "")
    return plain._replace(**changed)


def fields_of(record):
    return {name: getattr(record, name) for name in AccessRecord.__match_args__}


def lines(*requests):
    """What is written of these requests, and in how many pieces."""
    soon, pieces = [], []
    log = AccessLog(soon.append, pieces.append)
    for request in requests:
        log.log(request)
    for flush in soon:
        flush()
    return [json.loads(line) for line in "".join(pieces).splitlines()], len(pieces)


def test_a_line_has_every_field_as_it_was():
    """Level, time and message first, as the seed wrote them."""
    [line], _ = lines(handled())
    assert list(line) == ["level", "time", "message", *AccessRecord.__match_args__]
    assert {name: line[name] for name in AccessRecord.__match_args__} == fields_of(handled())
    assert (line["level"], line["message"]) == ("info", "request")


def test_a_request_cannot_forge_a_line():
    """Whatever the text fields hold, it is one line of JSON, and they come back as they were."""
    texts = {name: ODD for name, value in fields_of(handled()).items() if isinstance(value, str) and name != "cut"}
    [line], _ = lines(handled(**texts))
    assert {name: line[name] for name in texts} == texts


def test_the_time_is_now_in_utc():
    """RFC 3339 with microseconds, also when the second has changed."""
    [line], _ = lines(handled())
    assert abs(datetime.now(UTC) - datetime.fromisoformat(line["time"])) < timedelta(seconds=10)
    assert len(line["time"]) == len("2026-01-01T00:00:00.000000Z")
    assert line["time"].endswith("Z")


def test_failures_are_errors():
    """5xx, and requests that were never answered."""
    written, _ = lines(handled(status=503), handled(status=0), handled(status=429))
    assert [line["level"] for line in written] == ["error", "error", "info"]


@pytest.mark.parametrize(("side", "level"), [("client", "warning"), ("upstream", "error"), ("gateway", "error")])
def test_a_cut_response_is_not_logged_as_a_success(side, level):
    """The line of a response that ended before its end says which side cut it, at a level of its own."""
    [line], _ = lines(handled(cut=side, error="why"))
    assert (line["level"], line["status"], line["cut"], line["error"]) == (level, 200, side, "why")


def test_cut_responses_are_counted():
    """By route and side, beside the status that was sent."""
    metrics = RequestMetrics()
    for cut in ("", "client", "upstream", "client"):
        metrics.count(handled(cut=cut))
    assert metrics.cut == {("route", "client"): 2, ("route", "upstream"): 1}
    assert metrics.requests == {("route", 200): 4}


def test_lines_are_written_together():
    """One write for all that came until it, each with its own time."""
    written, pieces = lines(handled(), handled(), handled())
    assert (len(written), pieces) == (3, 1)
    assert len({line["time"] for line in written}) == 3


def shown(colors=False, **changed):
    return access_line(handled(**{"limit": "", **changed}), colors=colors)


def test_a_reader_gets_a_short_line():
    """Time, status, method, path, client, limit, latency and error; what is empty is left out."""
    denied = shown(status=429, path="/api", limit="d.remote_address")
    assert re.fullmatch(r"\d\d:\d\d:\d\d 429 GET /api 192\.0\.2\.1 d\.remote_address 1\.2 ms", denied)
    assert shown(status=502, error="it refuses").endswith(" 502 GET / 192.0.2.1 1.2 ms it refuses")
    assert shown(status=0).split(" ", 1)[1] == "--- GET / 192.0.2.1 1.2 ms"
    assert shown(status=400, method="", path="").split(" ", 1)[1] == "400 192.0.2.1 1.2 ms"


@pytest.mark.parametrize(("status", "color"), [(200, 32), (304, 36), (429, 33), (503, 31), (0, 31)])
def test_a_color_tells_the_kind_of_status(status, color):
    """With colors, and without them no escape at all."""
    assert f"\x1b[{color}m{status or '---'}\x1b[0m" in shown(colors=True, status=status)
    assert "\x1b" not in shown(status=status)


def test_a_request_cannot_command_a_terminal():
    """Control characters, also those above 127, are escaped in every field, with and without colors."""
    odd = dict.fromkeys(("method", "path", "client", "limit", "error"), "a\x1b[2J\nb\x9bc")
    line = shown(**odd)
    assert line.isprintable()
    assert line.count(r"a\x1b[2J\nb\x9bc") == 5


def test_a_log_of_text_is_written_as_the_other():
    """Many lines by one write."""
    soon, pieces = [], []
    log = AccessLog(soon.append, pieces.append, text=lambda record: record.path)
    for path in ("/a", "/b"):
        log.log(handled(path=path))
    for flush in soon:
        flush()
    assert pieces == ["/a\n/b\n"]
