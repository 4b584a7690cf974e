"""The access log, without a socket."""

import json
from datetime import UTC, datetime, timedelta

from ratelimitd.gateway.access_log import AccessLog, AccessRecord

ODD = 'quote " backslash \\ newline \n nul \0 é € 𝄞 \udcff </script>'


def handled(**changed):
    texts = ("GET", "/", "id", "192.0.2.1", "route", "upstream")
    plain = AccessRecord(*texts, 200, "limit", "reason", 1_234_567, 10, 20, "")
    return plain._replace(**changed)


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
    assert list(line) == ["level", "time", "message", *AccessRecord._fields]
    assert {name: line[name] for name in AccessRecord._fields} == handled()._asdict()
    assert (line["level"], line["message"]) == ("info", "request")


def test_a_request_cannot_forge_a_line():
    """Whatever the text fields hold, it is one line of JSON, and they come back as they were."""
    texts = {name: ODD for name, value in handled()._asdict().items() if isinstance(value, str)}
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


def test_a_turns_lines_are_written_together():
    """One write for all of them, and a later turn has its own."""
    written, pieces = lines(handled(), handled(), handled())
    assert (len(written), pieces) == (3, 1)
