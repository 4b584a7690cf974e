"""No limit is passed by another way to write a request: each has one counter, here and in Envoy."""

import pytest

from testkit.envoy import upstream

from .files import generic, unit, written
from .twins import send, twins

pytestmark = [pytest.mark.envoy, pytest.mark.process, pytest.mark.slow]

LOOSE = {"ignore_case": True, "ignore_trailing_slash": True}
HOST = {"request_headers": {"header_name": ":authority", "descriptor_key": "host"}}
ON_HOST = {"headers": [{"name": ":authority", "string_match": {"exact": "admin.example.org"}}]}
BOT = {"string_match": {"safe_regex": {"regex": ".*bot.*"}}}
HOSTS = (
    "admin.example.org",
    "ADMIN.Example.org",
    "admin.example.org.",
    "admin.example.org:81",
    "Admin.example.org.:8080",
    "admin.example.org..",
)


def matched(name, matcher):
    return {"header_value_match": {"descriptor_value": "on", "headers": [{"name": name, **matcher}]}}


BOTS = ("bot", "bot\xff", "\xe9bot", "bot\xc3\xa9")
ROUTES = {
    "hosts": {"match": {"prefix": "/hosts", "hosts": ["admin.example.org"]}},
    "wild": {"match": {"prefix": "/wild", "hosts": ["admin.*"]}},
    "condition": {"match": {"prefix": "/condition", **ON_HOST}},
    "host": {"match": {"prefix": "/host/"}, "by": [HOST]},
    "on-host": {"match": {"prefix": "/on-host"}, "by": [matched("host", {"string_match": {"suffix": "example.org"}})]},
    "path": {"match": {"path": "/api/expensive", **LOOSE}},
    "prefix": {"match": {"prefix": "/area/", **LOOSE}},
    "regex": {"match": {"regex": "^/v[0-9]+/items$", **LOOSE}},
    "colon": {"match": {"regex": "/w[0-9]/items:[a-z@]+"}},
    "reserved": {"match": {"path": "/users/@me"}},
    "escaped": {"match": {"prefix": "/caf%C3%A9/"}},
    "bot": {"match": {"prefix": "/bot"}, "by": [matched("x-agent", BOT)]},
    "query": {
        "match": {"prefix": "/query"},
        "by": [
            {
                "query_parameter_value_match": {
                    "descriptor_value": "on",
                    "query_parameters": [{"name": "agent", **BOT}],
                }
            }
        ],
    },
}
BY_HOST = ("hosts", "wild", "condition", "host", "on-host")
SENT = {
    **{
        name: [(f"/{name}/x", [("Host", host)]) for host in HOSTS] for name in ("hosts", "wild", "condition", "on-host")
    },
    "host": [("/host/x", [("Host", host)]) for host in HOSTS],
    "path": [(path, []) for path in ("/api/expensive", "/api/expensive/", "/API/Expensive", "/api//%65xpensivE/?a")],
    "prefix": [(path, []) for path in ("/area/", "/area", "/AREA/x", "/Area?a", "/x/../aREA/")],
    "regex": [(path, []) for path in ("/v1/items", "/v2/items/", "/V3/ITEMS", "/v4/Items/?a")],
    "colon": [(path, []) for path in ("/w1/items:a", "/w2/items%3ab", "/w3/items%3Aa%40@")],
    "reserved": [(path, []) for path in ("/users/@me", "/users/%40me", "/users/%40%6de")],
    "escaped": [(path, []) for path in ("/caf%C3%A9/", "/caf%c3%A9/x", "/caf%c3%a9/")],
    "bot": [("/bot", [("X-Agent", value)]) for value in BOTS],
    "query": [(f"/query?agent={value}", []) for value in ("bot", "bot%ff", "%e9bot", "%62ot%C3%A9")],
}
"""The ways to write one request of each route: target and headers."""
OTHERS = {
    "hosts": [
        ("/hosts/x", [("Host", host)]) for host in ("example.org", "admin.example.org.evil", "xadmin.example.org")
    ],
    "wild": [("/wild/x", [("Host", host)]) for host in ("admin.", "admin.:80", "admin")],
    "host": [("/host/x", [("Host", ".")])],
    "path": [(path, []) for path in ("/api/expensive/x", "/api/expensives", "/api")],
    "prefix": [(path, []) for path in ("/areas", "/are")],
    "regex": [(path, []) for path in ("/v1/items/2", "/v1/items//x")],
    "colon": [(path, []) for path in ("/w1/items", "/w1/items%3Bb", "/w1/items:%41")],
    "reserved": [(path, []) for path in ("/users/me", "/users/@ME", "/users/@me/")],
    "escaped": [(path, []) for path in ("/caf%C3%89/", "/cafe/")],
    "bot": [("/bot", [("X-Agent", "bo\xfft")])],
    "query": [("/query?agent=bo%fft", [])],
}
"""Requests that are none of them."""


def files(folder, app):
    """Write a route and a limit of one request for each name; the last route takes the rest."""
    rate = {"unit": unit(), "requests_per_unit": 1, "algorithm": "fixed_window"}
    routes = [
        {
            "name": name,
            "match": route["match"],
            "rate_limits": [{"actions": [generic("of", name), *route.get("by", [])]}],
        }
        for name, route in ROUTES.items()
    ]
    below = {"host": {"key": "host"}, **{name: {"key": "header_match"} for name in ("on-host", "bot")}}
    below["query"] = {"key": "query_match"}
    limits = [
        {"key": "of", "value": name, "descriptors": [{**below[name], "rate_limit": rate}]}
        if name in below
        else {"key": "of", "value": name, "rate_limit": rate}
        for name in ROUTES
    ]
    gateway = {
        "listen": "127.0.0.1:0",
        "upstreams": {"app": {"url": f"http://{app}"}},
        "routes": [*routes, {}],
        "policies": "policy.yaml",
    }
    return written(folder, gateway, {"domain": "twin", "descriptors": limits})


async def test_another_way_to_write_a_request_passes_no_limit(tmp_path):
    """Case, port and dot of a host, case, slashes and escapes of a path, bytes above 127: the first request passes, and
    no other way to write it does; what is another request is not counted."""
    async with upstream() as app, twins(*files(tmp_path, app), tmp_path, [{}, {}]) as urls:
        for name, sent in SENT.items():
            for url, twin in zip(urls, ("proxy", "Envoy"), strict=True):
                got = [(await send(url, "GET", *each, "127.0.0.1"))[0] for each in (*OTHERS.get(name, ()), *sent)]
                others = len(got) - len(sent)
                assert got[others:] == [200] + [429] * (len(sent) - 1), (twin, name)
                assert set(got[:others]) <= {200}, (twin, name)
