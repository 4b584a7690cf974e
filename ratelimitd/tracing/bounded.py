"""A session of HTTP that bounds what a collector answers: by default all of it is read, however large it is.

A redirect is an error here. OpenTelemetry's exporter does not follow it, and takes it for success.
"""

import time
from contextlib import suppress
from typing import Any, Final

import requests
from urllib3.exceptions import HTTPError

ANSWER: Final = 1 << 16
"""Bytes of an answer that are read, so that its connection can be used again. Answers of OTLP have some ten."""


def bounded_session(timeout: float) -> requests.Session:
    """Return a session whose answers have a status and headers, and no body. ``timeout``: seconds for the body."""
    return _Bounded(timeout)


class _Bounded(requests.Session):
    def __init__(self, timeout: float) -> None:
        super().__init__()
        self._timeout = timeout

    def request(self, *args: Any, **options: Any) -> requests.Response:
        """Send a request; the connection of an answer that is too large, or too slow, is closed."""
        response = super().request(*args, **{**options, "stream": True})
        left, deadline = ANSWER, time.monotonic() + self._timeout
        with response, suppress(OSError, HTTPError):  # the status was received, so the body does not matter
            while left > 0 and time.monotonic() < deadline:
                some = response.raw.read1(left, decode_content=False)
                if not some:
                    break
                left -= len(some)
        if 300 <= response.status_code < 400:
            raise requests.RequestException(f"{response.status_code}: the endpoint is a redirect, and is not followed")
        return response
