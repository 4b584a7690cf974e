"""Logs: one stream for the service and its libraries, JSON or text, with every secret masked.

Modules log with ``get_logger(__name__)``; records of libraries, which use ``logging``, are formatted in the same way.
"""

import logging
import os
import re
import sys
from collections.abc import Mapping, MutableMapping
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Final, TextIO
from urllib.parse import quote

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from ratelimitd.printable import printable

MASK: Final = "***"

SECRET_LEAST: Final = 4
"""A shorter secret is not masked: it would mask half of every line, and it is easily guessed anyway."""

LEVELS: Final[Mapping[str, int]] = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "panic": logging.CRITICAL,
}
"""The names that logrus accepts, and therefore LOG_LEVEL."""

_USERINFO: Final = re.compile(r"(\w://)[^\s\"'<>]*@")

_secrets: set[str] = set()

get_logger: Final = structlog.stdlib.get_logger
"""Return the logger of a module by its name."""


def hide(secret: str) -> None:
    """Mask this value in all later log lines, including its URL-encoded form."""
    if len(secret) >= SECRET_LEAST:
        _secrets.update((secret, quote(secret, safe=""), repr(secret)[1:-1]))


def masked(text: str) -> str:
    """Return a text with the hidden values and the credentials of URLs masked."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return _USERINFO.sub(rf"\1{MASK}@", text)


def readable(form: str, stream: TextIO) -> bool:
    """Whether lines are for a reader, not JSON: with LOG_FORMAT=text, and with auto on a terminal."""
    return form == "text" or (form == "auto" and stream.isatty())


def colored(stream: TextIO) -> bool:
    """Whether a stream shows colors: a terminal, unless NO_COLOR is set (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Send all logs to ``stream`` (stderr).

    ``level`` is a name of ``LEVELS``; ``form`` is json, text, or auto: text when the stream is a terminal.
    """
    out = stream or sys.stderr
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_log_level],
            processors=_text(colors=colored(out)) if readable(form, out) else _json(),
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level])
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_log_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def _json() -> list[Processor]:
    """One object per line, with the keys of envoyproxy/ratelimit's JSON lines; times are RFC 3339 in UTC."""
    return [
        *_common(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="@timestamp"),
        structlog.processors.EventRenamer("@message"),
        structlog.processors.JSONRenderer(ensure_ascii=False),
        _escape_json,
    ]


def _text(*, colors: bool) -> list[Processor]:
    return [
        *_common(),
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
        _escape_fields,
        structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback),
    ]


def _common() -> list[Processor]:
    return [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _mask_fields,
    ]


def _mask_fields(_: WrappedLogger, __: str, fields: EventDict) -> MutableMapping[str, Any]:
    """Mask every field; runs after exceptions are formatted, so tracebacks are masked too."""
    return {name: _masked(value) for name, value in fields.items()}


def _escape_fields(_: WrappedLogger, __: str, fields: EventDict) -> MutableMapping[str, Any]:
    """Escape what is not printable in every text; a traceback and a stack keep their lines."""
    return {
        name: printable(value, "\n\t" if name in {"exception", "stack"} else "") if isinstance(value, str) else value
        for name, value in fields.items()
    }


def _escape_json(_: WrappedLogger, __: str, line: EventDict | str) -> str:
    """Escape in the rendered line what JSON permits within a string and a terminal obeys, such as U+202E."""
    text = str(line)
    return text if text.isprintable() else "".join(each if each.isprintable() else quoted(each)[1:-1] for each in text)


def _masked(value: Any) -> object:
    """Mask inside plain containers; any other object is converted to text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {masked(str(name)): _masked(inner) for name, inner in value.items()}
    if type(value) in {list, tuple, set, frozenset}:
        return [_masked(inner) for inner in value]
    if isinstance(value, bytes):
        return masked(value.decode(errors="backslashreplace"))
    return masked(str(value))
