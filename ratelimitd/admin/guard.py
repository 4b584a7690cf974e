"""Who may use the admin API: a caller on this host who has the token.

Requests without it are limited by the project's own algorithm, all callers together, and one with it passes all the
same. Otherwise whoever reaches the port could lock its operator out, in the very moment of an attack; and it is the
length of a token that keeps guessers out. What the limit bounds is their cost: log lines, and answers worth reading.
"""

import hmac
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Final

from ratelimitd.algorithms import ALGORITHMS, SECOND, make_rate
from ratelimitd.config.values import bearer
from ratelimitd.net.files import Stamp, read_regular, stamp
from ratelimitd.observe.logs import get_logger

from .http import Handler, Request, Response, as_json

log = get_logger(__name__)

WRONG: Final = make_rate("token_bucket", 10, 60 * SECOND)
"""Requests without the right token: ten at once, as a person with an old token in his shell makes, then one in 6 s."""

TOKEN_BYTES: Final = 4_096
"""Of a token's file at most; a quarter of what is taken of a request's head (``server.HEAD_BYTES``)."""

Token = Callable[[], bytes]
"""Gives the token as it is now; raises TokenError."""


class TokenError(ValueError):
    """There is no token to compare with; the text says why, and shows nothing of the file."""


class TokenFile:
    """A token in a file, read again when the file changes, as when Kubernetes rotates a secret.

    While the file is gone or holds no token there is none: somebody may have emptied it to shut the API.

    Args:
        path: of the file; white space around the token is no part of it.
        found: told each token, so that logs can hide it.
    """

    def __init__(self, path: str, found: Callable[[str], None]) -> None:
        self._path = path
        self._found = found
        self._seen: Stamp | None = None
        self._token = b""

    def __call__(self) -> bytes:
        """Return the token as the file has it now; raises TokenError."""
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


class Guard:
    """Lets requests pass or says why not.

    Args:
        token: the one that opens.
        remote: whether callers that are not on this host may come (ADMIN_REMOTE).
        clock: monotonic µs.
    """

    def __init__(self, token: Token, clock: Callable[[], int], *, remote: bool = False) -> None:
        self._token = token
        self._remote = remote
        self._clock = clock
        self._wrong: object = None
        self._problem = ""

    def refusal(self, request: Request) -> Response | None:
        """Return what to answer instead, or None: the caller may pass."""
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

    def _no_token(self, problem: str) -> Response:
        if problem != self._problem:
            self._problem = problem
            log.warning("the admin token cannot be used; every admin request is rejected", reason=problem)
        return as_json(503, {"error": "ADMIN_TOKEN_FILE cannot be used; see the log"})

    def _wrong_token(self, request: Request) -> Response:
        self._wrong, decision = ALGORITHMS[WRONG.algorithm].step(self._wrong, WRONG, 1, self._clock())
        if not decision.allowed:
            wait = str(-(-decision.retry_after // SECOND))
            return as_json(429, {"error": "too many requests without a valid token"}, {"Retry-After": wait})
        log.warning("admin request without a valid token", peer=request.peer, path=request.path)
        return as_json(
            401, {"error": "send the header Authorization: Bearer TOKEN"}, {"WWW-Authenticate": 'Bearer realm="admin"'}
        )


def loopback(peer: str) -> bool:
    """Whether an address is this host's own, IPv4 in IPv6 included."""
    try:
        address = ip_address(peer)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def presented(headers: Mapping[str, str]) -> bytes:
    """Return the bearer token of a request (RFC 6750, 2.1), b"" where there is none."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    return token.strip().encode(errors="surrogateescape") if scheme.lower() == "bearer" else b""


def guarded(guard: Guard, methods: Mapping[str, Handler]) -> Handler:
    """Answer by method those who may pass; HEAD is GET."""
    allow = ", ".join(sorted({*methods, *(["HEAD"] if "GET" in methods else [])}))

    async def handler(request: Request) -> Response:
        refusal = guard.refusal(request)
        if refusal is not None:
            return refusal
        answering = methods.get("GET" if request.method == "HEAD" else request.method)
        if answering is None:
            return as_json(405, {"error": f"method {request.method} is not allowed; use {allow}"}, {"Allow": allow})
        return await answering(request)

    return handler
