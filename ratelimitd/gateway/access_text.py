"""The access log for a reader at a terminal: one short line per request."""

import time
from typing import Final

from ratelimitd.printable import printable

from .access_log import AccessRecord

_RESET: Final = "\x1b[0m"
_DIM: Final = "\x1b[2m"
_COLORS: Final = {0: "\x1b[31m", 2: "\x1b[32m", 3: "\x1b[36m", 4: "\x1b[33m", 5: "\x1b[31m"}
"""By the first digit of the status; 0: there was no response."""


def access_line(record: AccessRecord, *, colors: bool) -> str:
    """Return time, status, method, path, client, limit, latency and error; what is empty is left out.

    Everything that a client sends is made printable: a terminal obeys control characters.
    """
    clock, status = time.strftime("%H:%M:%S"), str(record.status or "---")
    latency = f"{record.latency / 1_000_000:.1f} ms"
    if colors:
        clock, latency = f"{_DIM}{clock}{_RESET}", f"{_DIM}{latency}{_RESET}"
        status = f"{_COLORS.get(record.status // 100, '')}{status}{_RESET}"
    asked = [printable(part) for part in (record.method, record.path, record.client, record.limit) if part]
    return " ".join([clock, status, *asked, latency, *([printable(record.error)] if record.error else [])])
