"""Keys in Redis: questions, and the forms of the keys that they make, in each version since the oldest that is tested.

A change of a form is listed by appending to ``FORMS``, and in docs/stability.md, which has the earlier ones too. While
versions with different forms run beside each other, each counts for itself, so a limit may admit twice its number;
``test_rolling.py`` holds that.
"""

import json
from typing import NamedTuple

from ratelimitd.algorithms import ALGORITHMS

SECONDS = 31_536_000
"""Windows of a year, so that none ends during a test."""

YEAR = f"{SECONDS}000000"
QUOTA = {"small": 30, "large": 10_000}
"""Requests of the limits, by the value of their descriptor: one that is used up during a test, and one that is not."""

RESERVED = 10
SECRET = "a secret of the tests"
KEY = "a key of the tests"


class Question(NamedTuple):
    """What is asked of a limit: the domain, the values of its descriptor's entries, and a limit of its own."""

    domain: str
    entries: tuple[tuple[str, str], ...]
    multiplier: int = 0
    """Of a limit for years that the request carries; 0: the policy has the limit."""


def rate(quota, **others):
    return {"unit": "year", "requests_per_unit": quota, **others}


RATES = {
    "upstream": lambda quota: {"rate_limit": rate(quota)},
    "several": lambda quota: {"rate_limits": [rate(quota, name="a"), rate(quota, name="b")]},
    "years": lambda quota: {"rate_limit": rate(quota, unit_multiplier=2)},
    "reserve": lambda quota: {"rate_limit": rate(quota, algorithm="gcra", reserve={"amount": RESERVED})},
    "reserve_window": lambda quota: {"rate_limit": rate(quota, reserve={"amount": RESERVED})},
    "places": lambda quota: {"rate_limit": {"concurrent": quota // 10}},
    **{name: lambda quota, name=name: {"rate_limit": rate(quota, algorithm=name)} for name in ALGORITHMS},
}
"""Limits of the policy by the key of their descriptor."""

del RATES["fixed_window"]  # "upstream"

PLACES = "places"
RESERVING = ("reserve", "reserve_window")
OWN = {"own": 1, "own_years": 2}
"""Keys of limits that requests carry, and the years of their window."""


def policy():
    """Return the policy of both versions: domains by name; files in JSON are YAML."""
    rows = [
        {"key": key, "value": value, "on_store_failure": "error", **limits(quota)}
        for key, limits in RATES.items()
        for value, quota in QUOTA.items()
    ]
    nested = {"key": "level", "descriptors": [{"key": "below", "rate_limit": rate(QUOTA["large"])}]}
    shared = {"key": "shared", "value": "v*", "share_threshold": True, "rate_limit": rate(QUOTA["large"])}
    free = [{"key": f"any_{name}", "rate_limit": rate(9, algorithm=name)} for name in ("gcra", "fixed_window")]
    held = {"key": "any_held", "rate_limit": rate(99, algorithm="gcra", reserve={"amount": RESERVED})}
    who = [{"key": key, "rate_limit": rate(9, algorithm="gcra")} for key in ("api_key", "remote_address")]
    identity = {"key": "api_key", "tiers": {"gold": [KEY]}}
    return {
        "d": {"domain": "d", "descriptors": [*rows, nested, shared, *free, held]},
        "bucket": {"domain": "bucket", "default_algorithm": "token_bucket", "descriptors": []},
        "who": {"domain": "who", "identity": identity, "descriptors": who},
    }


def write_policy(folder):
    """Write the policy into a folder."""
    for name, domain in policy().items():
        (folder / f"{name}.yaml").write_text(json.dumps(domain))


def asked(key, value="large"):
    """Return the question of the limit with this key and value."""
    return Question("d", ((key, value),), OWN.get(key, 0))


def quota_of(key, value):
    """Return the requests, or places, of the limit that this question asks."""
    return QUOTA[value] // 10 if key == PLACES else QUOTA[value]


WINDOW = r"\d+"
COUNT = r"\d+"
THREE = r"\d+ \d+ \d+"
LOG = r"\d{16}:\d+ \d+"
VALUES = {"sliding_window": LOG}
"""Values of algorithms that are not three numbers."""

HOLDS = rf"held -{RESERVED} \S+\.{RESERVED} \d+"
HASH = "#[0-9a-f]{64}"


def safe(algorithm, name, *, window=YEAR, domain="1:d", item="0:", end=""):
    return f"rl1:{algorithm}:{window}:{domain}{item}{name}_{end}"


class Keys(NamedTuple):
    """What is asked, and the keys with their values that it makes, as expressions: the oldest form first."""

    asked: Question
    forms: tuple[dict[str, str], ...]


FORMS = {
    "a name as upstream's": Keys(asked("upstream"), ({f"d_upstream_large_{WINDOW}": COUNT},)),
    "of two levels": Keys(Question("d", (("level", "1"), ("below", "2"))), ({f"d_level_1_below_2_{WINDOW}": COUNT},)),
    "of a shared wildcard": Keys(Question("d", (("shared", "v1"),)), ({rf"d_shared_v\*_{WINDOW}": COUNT},)),
    "several limits": Keys(
        asked("several"),
        ({safe("fixed_window", "7:several5:large", item=f"1:{each}", end=WINDOW): COUNT for each in "ab"},),
    ),
    "a window of two years": Keys(
        asked("years"), ({safe("fixed_window", "5:years5:large", window=2 * int(YEAR), end=WINDOW): COUNT},)
    ),
    **{
        name: Keys(asked(name), ({safe(name, f"{len(name)}:{name}5:large"): VALUES.get(name, THREE)},))
        for name in ALGORITHMS
        if name != "fixed_window"
    },
    "a long value": Keys(Question("d", (("any_gcra", "v" * 300),)), ({f"rl1:gcra:{YEAR}:{HASH}_": THREE},)),
    "a value that could choose a slot": Keys(
        Question("d", (("any_gcra", "{v}"),)), ({f"rl1:gcra:{YEAR}:{HASH}_": THREE},)
    ),
    "as upstream's, whatever the value": Keys(
        Question("d", (("any_fixed_window", "{v}"),)), ({rf"d_any_fixed_window_\{{v\}}_{WINDOW}": COUNT},)
    ),
    # What is held is in one slot of a cluster with the counter, so the name of the counter has a hash tag.
    "a reservation": Keys(asked("reserve"), ({rf"rl1:gcra:{YEAR}:\{{1:d0:7:reserve5:large\}}_holds": HOLDS},)),
    "a reservation of a window": Keys(
        asked("reserve_window"), ({rf"rl1:fixed_window:{YEAR}:\{{1:d0:14:reserve_window5:large\}}_holds": HOLDS},)
    ),
    "a reservation with a value that ends a tag": Keys(
        Question("d", (("any_held", "v}"),)), ({rf"rl1:gcra:{YEAR}:\{{{HASH}\}}_holds": HOLDS},)
    ),
    "a place": Keys(
        asked("places"), ({r"rl1:concurrent:0:\{1:d0:6:places5:large\}_holds": HOLDS.replace(str(RESERVED), "1")},)
    ),
    "a limit of the request": Keys(asked("own"), ({f"d_own_large_{WINDOW}": COUNT},)),
    "a limit of the request for two years": Keys(
        asked("own_years"),
        ({safe("fixed_window", "9:own_years5:large", window=2 * int(YEAR), end=WINDOW): COUNT},),
    ),
    "a limit of the request, by a bucket": Keys(
        Question("bucket", (("own", "1"),), multiplier=1),
        ({safe("token_bucket", "3:own1:1", domain="6:bucket"): THREE},),
    ),
    "an API key": Keys(
        Question("who", (("api_key", KEY), ("remote_address", "192.0.2.1"))),
        ({safe("gcra", "7:api_key64:[0-9a-f]{64}", domain="3:who"): THREE},),
    ),
    "a network": Keys(
        Question("who", (("remote_address", "2001:db8::1"),)),
        ({safe("gcra", "14:remote_address13:2001:db8::/64", domain="3:who"): THREE},),
    ),
    "an IPv4 address in IPv6": Keys(
        Question("who", (("remote_address", "::ffff:192.0.2.1"),)),
        ({safe("gcra", "14:remote_address9:192.0.2.1", domain="3:who"): THREE},),
    ),
}

GATEWAY = """
listen: "127.0.0.1:1"
upstreams: {app: {url: "http://127.0.0.1:1"}}
routes:
  - match: {prefix: /}
    upstream: app
    rate_limits: [{actions: [{request_headers: {header_name: ":authority", descriptor_key: host}}]}]
policies: {domain: d, descriptors: [{key: host, rate_limit: {unit: year, requests_per_unit: 9}}]}
"""

WRITTEN = {safe("token_bucket", r"4:host15:Shop\.Example:80"): THREE}
NORMALIZED = {safe("token_bucket", r"4:host12:shop\.example"): THREE}

PROXIED = {"Host": ("Shop.Example:80", (WRITTEN, NORMALIZED))}
"""Headers of a request to the proxy that a limit counts by: their value, and the forms of the key, as in ``FORMS``."""

OVERFLOW = {
    f"rl1:overflow:gcra:{YEAR}:1:d0:5:place:": f"b'', b'd', b'place', 'gcra', {YEAR}, ''",
    rf"rl1:overflow:gcra:{YEAR}:\{{1:d0:5:place\}}:": f"b'', b'd', b'place', 'gcra', {YEAR}, '', tagged=True",
}
"""Names of the counter that new keys share beyond NEW_KEYS_PER_SECOND, and what ``overflow_key`` is given."""
