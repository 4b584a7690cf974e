"""CORS: what the responses to pages of other origins carry, and the answer to a preflight, as Envoy 1.40 makes them.

https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from typing import Final, NamedTuple

from ratelimitd.http1 import Headers, Request

from .matching import Tester, text_tester
from .model import Cors, TextMatch

EXPOSED: Final = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Retry-After", "X-Request-Id")
"""Response headers of the gateway that scripts can read on every route with CORS."""

ANY: Final = TextMatch("exact", "*")
"""The origin that matches all."""

ASKED: Final = b"access-control-request-method"
ORIGIN: Final = b"origin"
"""The headers of a preflight."""

WITHHELD: Final = frozenset(
    (b"access-control-allow-origin", b"access-control-allow-credentials", b"access-control-expose-headers")
)
"""Headers of an upstream that do not pass on a route with CORS: they would allow origins that the route does not."""

VARY: Final = (b"Vary", b"Origin")
"""On every response, as a cache would otherwise give one origin what was for another."""


class CorsPolicy(NamedTuple):
    """The CORS of a route, ready for requests.

    Attributes:
        allows: whether an origin is allowed.
        granted: headers of responses to an allowed origin, besides the one with its name.
        preflight: headers of the answer to a preflight, likewise.
    """

    allows: Tester
    granted: Headers
    preflight: Headers


def cors_policy(cors: Cors) -> CorsPolicy:
    """Compile the CORS of a route. Raises PatternError."""
    credentials = [(b"Access-Control-Allow-Credentials", b"true")] if cors.credentials else []
    exposed = (b"Access-Control-Expose-Headers", ", ".join(cors.exposed).encode())
    lists = [(b"Access-Control-Allow-Methods", cors.methods), (b"Access-Control-Allow-Headers", cors.headers)]
    allowed = [(name, ", ".join(values).encode()) for name, values in lists if values]
    age = [] if cors.max_age is None else [(b"Access-Control-Max-Age", b"%d" % cors.max_age)]
    return CorsPolicy(_origins(cors), [*credentials, exposed], [*credentials, *allowed, *age, exposed])


def allowed_origin(policy: CorsPolicy, request: Request) -> bytes | None:
    """Return the origin of a request if it is allowed. Without one, or with two, there is none."""
    if request.names.count(ORIGIN) != 1:
        return None
    origin = request.value(request.names.index(ORIGIN))
    return origin if origin and policy.allows(origin) else None


def response_headers(policy: CorsPolicy, origin: bytes | None) -> Headers:
    """Return what every response to a request of this allowed origin carries; None: of no origin, or another one."""
    return [VARY] if origin is None else [VARY, _named(origin), *policy.granted]


def is_preflight(request: Request) -> bool:
    """Return whether a browser asks for leave to send another request."""
    if request.method != b"OPTIONS" or ASKED not in request.names:
        return False
    return request.value(request.names.index(ASKED)) != b""


def preflight_headers(policy: CorsPolicy, origin: bytes) -> Headers:
    """Return the headers of the answer to a preflight of an allowed origin."""
    return [_named(origin), *policy.preflight]


def _named(origin: bytes) -> tuple[bytes, bytes]:
    return (b"Access-Control-Allow-Origin", origin)


def _origins(cors: Cors) -> Tester:
    if ANY in cors.origins:
        return lambda _: True
    testers = tuple(map(text_tester, cors.origins))
    return lambda origin: any(test(origin) for test in testers)
