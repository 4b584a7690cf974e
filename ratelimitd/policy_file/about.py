"""What each key of a policy file and of an overlay is, as editors show it."""

from collections.abc import Mapping
from typing import Final

from ratelimitd.algorithms import SECOND, Reserve
from ratelimitd.config.schema import About, Abouts
from ratelimitd.policy import Queue

from .fields import TOP
from .holds import PLACE_TTL
from .tiers import IPV6_PREFIX, REMOTE_ADDRESS

_SHADOW: Final = "The limits count and are reported, and deny nothing."
_QUOTA: Final = (
    "The limits are a quota: they deny a request only if each of its descriptors with quota limits is over one of them."
)
_FAILURE: Final = (
    "What the limits do while their counters are unavailable: error fails the request, deny and allow decide it, local "
    "counts in this process."
)
_CHARGE: Final = "Whether the hits that a request carries have been spent (after), or are asked for (before)."
_ALGORITHM: Final = "How requests are counted."

_LIMIT: Final[Abouts] = {
    "unit": About("Length of the window; a month has 30 days, a year 365.", None, ("second", "minute", "hour", "day")),
    "requests_per_unit": About("Requests that pass in a window; 0 denies all.", 0, (10, 100)),
    "unlimited": About("No limit and no counter, in place of unit and requests_per_unit.", default=False),
    "name": About("Name of the limit, in metrics and headers, and for replaces."),
    "replaces": About("Names of limits that do not count when this one applies."),
    "algorithm": About(_ALGORITHM),
    "burst": About(
        "Requests that are admitted at once after an idle period; requests_per_unit by default.", None, (20,)
    ),
    "unit_multiplier": About("Length of the window in units: 5 with unit minute are five minutes.", 1),
    "count_rejected": About("Whether a rejected request counts too; only with fixed_window.", default=True),
    "charge": About(_CHARGE),
    "reserve": About(
        "Holds a part of the limit while an answer is in progress whose cost is not known yet; {} for the defaults."
    ),
    "concurrent": About("Requests in progress at once, in place of unit and requests_per_unit.", None, (10,)),
    "ttl": About(
        "When the place of a request in progress is freed at the latest; only with concurrent.",
        f"{PLACE_TTL // SECOND}s",
    ),
    "queue": About("In the proxy, requests that the limit denies wait for their turn; {} for the defaults."),
}

POLICY: Final[Mapping[str, Abouts]] = {
    TOP: {
        "domain": About("Name of the domain, that of Envoy's rate limit filter.", None, ("shop",)),
        "descriptors": About("The tree of keys and values that requests are matched with."),
        "default_algorithm": About("Algorithm of limits that name none, and of limits that requests bring."),
        "default_charge": About(f"Default of charge. {_CHARGE}"),
        "all_or_nothing": About(
            "A request is charged to all its limits or, if one of them is over, to none.", default=False
        ),
        "identity": About("Identifies callers: listed API keys by their tier, all others by address."),
    },
    "identity": {
        "key": About("Descriptor key whose values are API keys.", None, ("api_key",)),
        "otherwise": About("Descriptor key whose values are addresses.", REMOTE_ADDRESS.decode()),
        "tiers": About("The API keys of each tier, in plain text or as sha256: and their SHA-256 in hex."),
        "tiers_file": About("File with the API keys of each tier, relative to this one.", None, ("keys.yaml",)),
        "ipv6_prefix": About("Bits of the IPv6 network that counts as one caller.", IPV6_PREFIX),
    },
    "descriptors": {
        "key": About("Key of the entry of a request that this level matches.", None, ("remote_address",)),
        "value": About("Value of the entry, with * for any text; without it, each value that no sibling matches."),
        "rate_limit": About("The limit of requests whose descriptor ends here."),
        "rate_limits": About("Several limits of requests whose descriptor ends here."),
        "descriptors": About("The next level of the tree."),
        "shadow_mode": About(_SHADOW, default=False),
        "quota_mode": About(_QUOTA, default=False),
        "detailed_metric": About("The name in metrics has all values of the request, at every level.", default=False),
        "value_to_metric": About(
            "The name in metrics has the value of the request in place of a wildcard or a missing value.", default=False
        ),
        "share_threshold": About("All values that match the wildcard share one counter.", default=False),
        "metadata": About("Returned to Envoy with the response, as dynamic metadata."),
        "on_store_failure": About(_FAILURE, "error"),
    },
    "rate_limit": _LIMIT,
    "rate_limits": {
        **_LIMIT,
        "shadow_mode": About(f"{_SHADOW} That of the descriptor by default."),
        "quota_mode": About(f"{_QUOTA} That of the descriptor by default."),
        "on_store_failure": About(f"{_FAILURE} That of the descriptor by default."),
    },
    "replaces": {"name": About("Name of the limit that does not count.")},
    "reserve": {
        "amount": About("What a request holds; auto learns it from the costs that have been seen.", "auto"),
        "start": About("What a request holds until costs have been seen; only with amount auto.", Reserve().start),
        "ttl": About("When what a request holds is given back at the latest.", f"{Reserve().ttl // SECOND}s"),
    },
    "queue": {
        "length": About("Requests that wait for a counter at most.", Queue().length),
        "timeout": About("How long a request waits at most.", f"{Queue().timeout // SECOND}s"),
    },
}
"""By level and key of ``fields.LEVELS``."""

OVERLAY: Final[Mapping[str, Abouts]] = {
    "an overlay": {"overlay": About("Entries, which apply in their order.")},
    "an entry of 'overlay'": {
        "domain": About('Domains that the entry is for, with * for any text; "*" is every domain.', None, ("*",)),
        "path": About(
            "Descriptors from the root to the limits that the entry is for; without it all limits of the domains.",
            None,
            (["**", "rule-*-match-*"],),
        ),
        **{key: POLICY[TOP][key] for key in ("default_algorithm", "default_charge")},
        **{key: _LIMIT[key] for key in ("algorithm", "burst", "charge", "reserve", "queue")},
        "on_store_failure": About(_FAILURE),
    },
}
"""By the names of the maps of an overlay in errors, and key."""
