"""Access to the admin API: callers on this host that have the token.

Requests without the token share one rate limit for all callers; a request with it always passes. Otherwise any caller
that reaches the port could lock out the operator during an attack. The length of the token protects against guessing;
the limit bounds the cost of guesses: log lines and responses.
"""

import hmac
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Final

from ratelimitd.algorithms import ALGORITHMS, SECOND, make_rate
from ratelimitd.config.values import bearer
from ratelimitd.net.files import Stamp, read_regular, stamp
from ratelimitd.observe.logs import get_logger

from .http import PageHandler, PageRequest, PageResponse, as_json

log = get_logger(__name__)

WRONG: Final = make_rate("token_bucket", 10, 60 * SECOND)
"""Limit of requests without a valid token: a burst of ten, as from a shell with an old token, then one every 6 s."""

TOKEN_BYTES: Final = 4_096
"""Maximum size of a token file; a quarter of the maximum request head (``server.HEAD_BYTES``)."""

Token = Callable[[], bytes]
"""Returns the current token; raises TokenError."""


class TokenError(ValueError):
    """No usable token; the text gives the reason, and contains nothing of the file."""


class TokenFile:
    """A token in a file, read again when the file changes, for example when Kubernetes rotates a secret.

    While the file is missing or empty, no token is valid: an operator may have emptied it to disable the API.

    Args:
        path: path of the file; white space around the token is ignored.
        found: called with each new token, so that logs can mask it.
    """

    def __init__(self, path: str, found: Callable[[str], None]) -> None:
        self._path = path
        self._found = found
        self._seen: Stamp | None = None
        self._token = b""

    def __call__(self) -> bytes:
        """Return the current token of the file; raises TokenError."""
        try:
            seen = stamp(self._path)
            if seen != self._seen:
                self._token, self._seen = self._read(), seen
        except OSError as error:
            self._seen = None
            raise TokenError(f"{self._path}: cannot be read: {error.strerror}") from None
        except ValueError as error:
            self._seen = None
            raise TokenError(f"{self._path}: {error}") from None
        return self._token

    def _read(self) -> bytes:
        token = bearer(read_regular(self._path, TOKEN_BYTES).decode(errors="replace").strip())
        self._found(token)
        return token.encode()


class TokenGuard:
    """Checks the caller's address and token.

    Args:
        token: returns the valid token.
        remote: whether callers on other hosts are accepted (ADMIN_REMOTE).
        clock: returns the monotonic time, µs.
    """

    def __init__(self, token: Token, clock: Callable[[], int], *, remote: bool = False) -> None:
        self._token = token
        self._remote = remote
        self._clock = clock
        self._wrong: object = None
        self._problem = ""

    def refusal(self, request: PageRequest) -> PageResponse | None:
        """Return the error response, or None if the request is authorized."""
        if not (self._remote or loopback(request.peer)):
            return as_json(403, {"error": "the admin API accepts only callers on its own host; see ADMIN_REMOTE"})
        try:
            token = self._token()
        except TokenError as error:
            return self._no_token(str(error))
        self._problem = ""
        if hmac.compare_digest(presented(request.headers), token):
            return None
        return self._wrong_token(request)

    def _no_token(self, problem: str) -> PageResponse:
        if problem != self._problem:
            self._problem = problem
            log.warning("the admin token cannot be used; every admin request is rejected", reason=problem)
        return as_json(503, {"error": "ADMIN_TOKEN_FILE cannot be used; see the log"})

    def _wrong_token(self, request: PageRequest) -> PageResponse:
        self._wrong, decision = ALGORITHMS[WRONG.algorithm].step(self._wrong, WRONG, 1, self._clock(), 0)
        if not decision.allowed:
            wait = str(-(-decision.retry_after // SECOND))
            return as_json(429, {"error": "too many requests without a valid token"}, {"Retry-After": wait})
        log.warning("admin request without a valid token", peer=request.peer, path=request.path)
        return as_json(
            401, {"error": "send the header Authorization: Bearer TOKEN"}, {"WWW-Authenticate": 'Bearer realm="admin"'}
        )


def loopback(peer: str) -> bool:
    """Whether an IP address is a loopback address, including IPv4-mapped IPv6."""
    try:
        address = ip_address(peer)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def presented(headers: Mapping[str, str]) -> bytes:
    """Return the bearer token of a request (RFC 6750, 2.1), b"" if there is none."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return token.strip().encode(errors="surrogateescape") if scheme.lower() == "bearer" else b""


def guarded(guard: TokenGuard, methods: Mapping[str, PageHandler]) -> PageHandler:
    """Make a handler that answers authorized requests by method; HEAD is treated as GET."""
    allow = ", ".join(sorted({*methods, *(["HEAD"] if "GET" in methods else [])}))

    async def handler(request: PageRequest) -> PageResponse:
        refusal = guard.refusal(request)
        if refusal is not None:
            return refusal
        answering = methods.get("GET" if request.method == "HEAD" else request.method)
        if answering is None:
            return as_json(405, {"error": f"method {request.method} is not allowed; use {allow}"}, {"Allow": allow})
        return await answering(request)

    return handler
