"""A valid file of each kind, with every key."""

_LIMIT = {
    "unit": "minute",
    "requests_per_unit": 100,
    "name": "n",
    "replaces": [{"name": "m"}],
    "algorithm": "token_bucket",
    "burst": 200,
    "unit_multiplier": 2,
    "count_rejected": True,
    "charge": "after",
    "reserve": {"amount": 20, "ttl": "300s"},
    "queue": {"length": 3, "timeout": "10s"},
}

POLICY = {
    "domain": "d",
    "default_algorithm": "gcra",
    "default_charge": "before",
    "all_or_nothing": True,
    "identity": {"key": "k", "otherwise": "o", "tiers": {"gold": ["secret"]}, "ipv6_prefix": 64},
    "descriptors": [
        {
            "key": "a",
            "value": "*",
            "rate_limit": _LIMIT,
            "shadow_mode": False,
            "quota_mode": False,
            "detailed_metric": True,
            "value_to_metric": True,
            "share_threshold": True,
            "metadata": {"m": [1.5, None]},
            "on_store_failure": "deny",
            "descriptors": [{"key": "b", "rate_limit": {"concurrent": 4, "ttl": "10s", "queue": {}}}],
        },
        {
            "key": "c",
            "rate_limits": [
                {
                    **_LIMIT,
                    "reserve": {"amount": "auto", "start": 5},
                    "shadow_mode": True,
                    "quota_mode": False,
                    "on_store_failure": "allow",
                }
            ],
        },
        {"key": "e", "rate_limit": {"unlimited": True}},
        {"key": "f", "unit": "day"},
    ],
}

_STRING = {"safe_regex": {"regex": "a", "google_re2": {}}, "ignore_case": True}
_ACTIONS = [
    {"generic_key": {"descriptor_value": "v", "descriptor_key": "k"}},
    {"request_headers": {"header_name": ":path", "descriptor_key": "k", "skip_if_absent": True}},
    {"query_parameters": {"query_parameter_name": "q", "descriptor_key": "k", "skip_if_absent": False}},
    {"remote_address": {}},
    {"masked_remote_address": {"v4_prefix_mask_len": 24, "v6_prefix_mask_len": 64}},
    {
        "header_value_match": {
            "descriptor_value": "v",
            "descriptor_key": "k",
            "expect_match": True,
            "headers": [
                {"name": "x-a", "string_match": _STRING, "invert_match": True, "treat_missing_header_as_empty": True},
                {"name": "x-b", "present_match": True},
            ],
        }
    },
    {
        "query_parameter_value_match": {
            "descriptor_value": "v",
            "descriptor_key": "k",
            "expect_match": True,
            "query_parameters": [{"name": "q", "string_match": {"exact": ""}}, {"name": "r", "present_match": False}],
        }
    },
    {"destination_cluster": {}},
    {"source_cluster": {}},
    {"dynamic_metadata": {"descriptor_key": "k"}},
]

GATEWAY = {
    "listen": ":8080",
    "upstreams": {
        "app": {
            "url": "http://a:1",
            "host": "keep",
            "breaker": {
                "consecutive": 3,
                "error_rate": 0.5,
                "minimum": 5,
                "window": "10s",
                "open_for": 2,
                "open_for_at_most": "3s",
                "probes": 1,
                "successes": 1,
                "statuses": [502],
            },
            "balance": {"failures": 2, "eject_for": "3s", "eject_for_at_most": "5s", "statuses": [503]},
            "max_connections": 5,
            "max_connections_per_client": 5,
            "max_waiting": 5,
            **dict.fromkeys(
                (
                    *("wait_timeout", "connect_timeout", "response_timeout", "read_timeout"),
                    *("tunnel_timeout", "idle_timeout", "lifetime"),
                ),
                "5s",
            ),
            "max_head": "8KiB",
        },
        "tls": {"endpoints": ["https://b"], "ca": "ca.pem", "verify": True, "breaker": False, "host": "h"},
    },
    "routes": [
        {
            "match": {
                "prefix": "/a",
                "methods": ["GET"],
                "hosts": ["*.example.org"],
                "headers": [
                    {"name": "x-a", "exact": "b", "invert": True},
                    {"name": "x-b", "regex": "b"},
                    {"name": "x-c", "present": True},
                ],
                "ignore_case": True,
                "ignore_trailing_slash": True,
            },
            "upstream": "app",
            "rate_limits": [
                {"actions": _ACTIONS, "hits_addend": {"number": 5, "is_negative_hits": True}, "stage": 0},
                {
                    "actions": [{"remote_address": {}}],
                    "limit": {"rate_limit": {"requests_per_unit": 5, "unit": "HOUR"}},
                    "disable_key": "k",
                },
            ],
            "timeout": "5s",
            "name": "r",
            "cors": {
                "origins": ["https://a.example", {"regex": "a"}],
                "methods": ["GET"],
                "headers": ["X-A"],
                "expose_headers": ["X-B"],
                "max_age": "10m",
                "credentials": True,
            },
        }
    ],
    "policies": [{"domain": "d", "descriptors": [{"key": "k"}]}],
    "domain": "d",
    "name": "n",
    "trusted_proxies": ["10.0.0.0/8"],
    "tls": {"cert": "c", "key": "k"},
    "limits": {
        "max_head": 5000,
        "max_target": "8KiB",
        "max_headers": 5,
        "max_body": "1g",
        "head_timeout": "5s",
        "body_timeout": "5s",
        "min_body_rate": 0,
        "idle_timeout": "5s",
        "send_timeout": "5s",
        "max_connections": 5,
        "max_connections_per_address": 5,
        "methods": "any",
    },
    "admin": {"prefix": "/-"},
    "rate_limited_status": 420,
    "error_details": True,
    "underscores_in_headers": True,
    "encoded_slash": "keep",
}

OVERLAY = {
    "overlay": [
        {"domain": "*", "default_algorithm": "gcra", "default_charge": "after"},
        {
            "domain": "d",
            "path": ["**", "k=v"],
            "algorithm": "token_bucket",
            "burst": 5,
            "charge": "after",
            "reserve": {"amount": 20},
            "queue": {"length": 5},
            "on_store_failure": "deny",
        },
    ]
}

WHOLE = {"policy": POLICY, "gateway": GATEWAY, "overlay": OVERLAY}
