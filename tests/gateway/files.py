"""Gateway files for tests."""

import json

from ratelimitd.gateway.file import read_gateway
from ratelimitd.gateway.paths import target
from ratelimitd.gateway.routing import Router
from ratelimitd.http1.model import Framed, Peer, Request


def gateway(*routes, for_envoy=False, **top):
    """Read a gateway of these routes; what else the file holds goes by its keys."""
    file = {
        "upstreams": {"app": {"url": "http://localhost:8081"}},
        "routes": list(routes) or [{}],
        "policies": {"domain": "d"},
        **top,
    }
    return read_gateway("gateway.yaml", json.dumps(file).encode(), for_envoy=for_envoy)


def limits(*actions, **more):
    """A rate limit of these actions, given by name or with their fields."""
    return {"actions": [{each: {}} if isinstance(each, str) else each for each in actions], **more}


def request_of(path="/", query=b"", headers=(), method="GET", authority="example.org", address="192.0.2.1"):
    """A request with these header lines, as text."""
    lines = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    names = [name.lower() for name, _ in lines]
    head = Framed(method.encode(), b"1.1", path.encode(), names, lines)
    head.query, head.authority = query, authority.encode()
    return Request(head, Peer(address, 1), "http")


def ask(router, path="/", query=None, headers=(), address="192.0.2.1", **more):
    """Ask a router; returns the route's name and the entries of each descriptor."""
    where = target(path.encode(), query and query.encode())
    asked = router.asked(request_of(path, headers=headers, address=address, **more), where, address)
    routed = router.find(where.path, asked)
    return None if routed is None else (routed.route.name, routed.descriptors(asked))


def described(rate_limits, **request):
    """The descriptors of a request to a gateway with one route of these rate limits."""
    found = ask(Router(gateway({"rate_limits": rate_limits})), **request)
    assert found is not None
    return found[1]
