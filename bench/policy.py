"""The policies of the bench, and requests that match them.

Their limits are never reached, so every answer is OK with a full status and every call takes the same path.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.load import BUILD, frame
from ratelimitd.algorithms import HOLDS_MOST
from ratelimitd.proto import message

DOMAIN: Final = "bench"
KEYS: Final = ("user", "path", "tenant", "method", "host", "region", "plan", "device")
PLENTY: Final = 1_000_000_000
"""Requests per hour; a service that answers 100,000 per second uses 360 million."""

LOG_LIMIT: Final = 10_000
"""Requests per second, the maximum for sliding_window; therefore its requests are spread over ``SPREAD`` keys."""

TOKENS: Final = 700
"""Hits of a settlement: tokens of an answer. No user of many uses up ``PLENTY`` with them."""

SPREAD: Final = 1_000

SIZES: Final = (1, 3, 8)
"""Numbers of descriptors of a request. Each has a domain of its own, since Limitador tries every limit of a domain."""

PEERS: Final = BUILD / "peers"
"""The folder for the files that peers load."""

LIMITS: Final = "limits.yaml"
"""The file of Limitador in it."""

Entries = Sequence[tuple[str, str]]


def domain(descriptors: int = 1) -> str:
    """Return the domain of requests with this number of descriptors."""
    return DOMAIN if descriptors == 1 else f"{DOMAIN}{descriptors}"


def policy(rules: int = 1, algorithm: str = "", descriptors: int = 1) -> str:
    """Return a policy with a rule for each descriptor, and ``rules`` rules for single users if there are several.

    envoyproxy/ratelimit also loads it, unless ``algorithm`` is set.
    """
    rate = limit(algorithm)
    lines = [f"  - {{key: {key}, rate_limit: {rate}}}" for key in KEYS[:descriptors]]
    lines += [f"  - {{key: user, value: {user(n)}, rate_limit: {rate}}}" for n in range(rules if rules > 1 else 0)]
    return _file(domain(descriptors), lines)


def limit(algorithm: str = "") -> str:
    """Return the limit of every rule."""
    if algorithm == "sliding_window":
        return f"{{unit: second, requests_per_unit: {LOG_LIMIT}, algorithm: {algorithm}}}"
    named = f", algorithm: {algorithm}" if algorithm else ""
    return f"{{unit: hour, requests_per_unit: {PLENTY}{named}}}"


def user(number: int) -> str:
    """Return the value of one user's entry."""
    return f"u{number:06d}"


def requests(descriptors: int = 1, keys: int = 1, first: int = 0) -> Iterator[bytes]:
    """Return gRPC frames of ``keys`` users, each with ``descriptors`` descriptors of one entry."""
    for number in range(first, first + keys):
        yield _request(domain(descriptors), [[(key, user(number))] for key in KEYS[:descriptors]])


def probe(descriptors: int, hits: int, by: str) -> Any:
    """Return a request of a user who is in no measurement, with this number of hits for each of its descriptors."""
    built = _message(domain(descriptors), [[(key, by)] for key in KEYS[:descriptors]])
    built.hits_addend = hits
    return built


class Kind(NamedTuple):
    """A kind of policy: its file for this many keys, the descriptor of a user's request, and the hits in that."""

    policy: Callable[[int], str]
    descriptor: Callable[[int], Entries]
    hits: int | None = None


def kind_requests(kind: Kind, keys: int) -> Iterator[bytes]:
    """Return gRPC frames of ``keys`` users, each with the one descriptor of this kind."""
    for number in range(keys):
        yield _request(DOMAIN, [kind.descriptor(number)], kind.hits)


def _request(domain: str, descriptors: Sequence[Entries], hits: int | None = None) -> bytes:
    return frame(_message(domain, descriptors, hits).SerializeToString())


def _message(domain: str, descriptors: Sequence[Entries], hits: int | None = None) -> Any:
    built = message("envoy.service.ratelimit.v3.RateLimitRequest")(domain=domain)
    for entries in descriptors:
        added = built.descriptors.add()
        for key, value in entries:
            added.entries.add(key=key, value=value)
        if hits is not None:
            added.hits_addend.value = hits
    return built


def _file(domain: str, lines: Sequence[str], head: str = "") -> str:
    return "\n".join([f"domain: {domain}", *([head] if head else []), "descriptors:", *lines]) + "\n"


def _one(rule: str) -> Kind:
    """Return a kind of policy with one rule for all users."""
    return Kind(lambda _keys: _file(DOMAIN, [f"  - {{key: user, {rule}}}"]), lambda number: [("user", user(number))])


def _tiers(keys: int) -> str:
    """Return a policy whose callers are all in one tier, by their API keys."""
    known = ", ".join(f"{user(number)}" for number in range(keys))
    head = f"identity:\n  key: api_key\n  tiers: {{premium: [{known}]}}"
    return _file(DOMAIN, [f"  - {{key: api_key, value: premium, rate_limit: {limit()}}}"], head)


def _several() -> str:
    units = ("minute", "hour", "day")
    each = (f"{{name: {unit}, unit: {unit}, requests_per_unit: {PLENTY}}}" for unit in units)
    return f"rate_limits: [{', '.join(each)}]"


def _after() -> str:
    return f"{limit()[:-1]}, charge: after}}"


def _holds() -> str:
    """Return a limit whose questions hold the least part of it, for a second: nothing settles them."""
    return f"{limit()[:-1]}, reserve: {{amount: {PLENTY // HOLDS_MOST}, ttl: 1s}}}}"


KINDS: Final[Mapping[str, Kind]] = {
    "3 limits on one descriptor": _one(_several()),
    "wildcard": _one(f"value: u*, rate_limit: {limit()}"),
    "identity tier": Kind(_tiers, lambda number: [("api_key", user(number)), ("remote_address", "192.0.2.1")]),
    "shadow": _one(f"shadow_mode: true, rate_limit: {limit()}"),
    "quota": _one(f"quota_mode: true, rate_limit: {limit()}"),
    "question": _one(f"rate_limit: {_after()}")._replace(hits=0),
    "settlement": _one(f"rate_limit: {_after()}")._replace(hits=TOKENS),
    "question that holds": _one(f"rate_limit: {_holds()}")._replace(hits=0),
}


def limitador() -> str:
    """Return limits of the same meaning for Limitador: a namespace is a domain, and a variable a descriptor."""
    lines = [
        f"- {{namespace: {domain(size)}, max_value: {PLENTY}, seconds: 3600, conditions: [], "
        f'variables: ["descriptors[{place}].{key}"]}}'
        for size in SIZES
        for place, key in enumerate(KEYS[:size])
    ]
    return "\n".join(lines) + "\n"


def peer_files() -> Mapping[str, str]:
    """Return the files that peers load, by their path in ``PEERS``: policies for envoyproxy/ratelimit, and limits."""
    return {
        **{f"ratelimit/config/{domain(size)}.yaml": policy(descriptors=size) for size in SIZES},
        LIMITS: limitador(),
    }


def write_for_peers(folder: Path = PEERS) -> None:
    """Write the files that peers load: ``folder`` is then a RUNTIME_ROOT, and has the limits for Limitador."""
    for name, text in peer_files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
