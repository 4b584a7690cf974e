"""Gateway files on disk, of which bootstraps are made."""

import json

CALLER = {"remote_address": {}}

LIMIT = {"key": "remote_address", "rate_limit": {"unit": "hour", "requests_per_unit": 2, "algorithm": "gcra"}}


def write(folder, *routes, rules=(LIMIT,), **top):
    """Write a gateway file with its policies in it; returns its path."""
    file = {
        "upstreams": {"app": {"url": "http://localhost:8000"}},
        "routes": list(routes) or [{"rate_limits": [{"actions": [CALLER]}]}],
        "policies": {"domain": "d", "descriptors": list(rules)},
        **top,
    }
    path = folder / "gateway.yaml"
    path.write_text(json.dumps(file))
    return str(path)
