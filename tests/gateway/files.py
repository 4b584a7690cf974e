"""Gateway files for tests."""

import json

from ratelimitd.gateway.file import read_gateway
from ratelimitd.gateway.paths import target
from ratelimitd.gateway.routing import Router


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


def ask(router, path="/", query=None, headers=(), method="GET", authority="example.org", address="192.0.2.1"):
    """Ask a router; returns the route's name and the entries of each descriptor."""
    lines = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    asked = router.view(
        method.encode(), target(path.encode(), query and query.encode()), authority.encode(), b"http", lines
    )
    routed = router.find(asked)
    return None if routed is None else (routed.route.name, routed.descriptors(asked, address))


def described(rate_limits, **request):
    """The descriptors of a request to a gateway with one route of these rate limits."""
    found = ask(Router(gateway({"rate_limits": rate_limits})), **request)
    assert found is not None
    return found[1]
