"""What each key of a gateway file is, as editors show it."""

from collections.abc import Mapping
from typing import Any, Final

from ratelimitd.config.schema import About, Abouts
from ratelimitd.http1 import BalanceOptions, BreakerOptions, ServerOptions, UpstreamOptions

from .cors_fields import HEADERS, METHODS
from .file import LISTEN, NAME
from .model import RATE_LIMITED


def _with_defaults(about: Mapping[str, str], options: Any) -> Abouts:
    """Return the keys of options with their defaults, as they are written in a file. Times are floats, of seconds."""
    return {key: About(text, _written(getattr(options, key, None))) for key, text in about.items()}


def _written(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(value)
    return f"{value:g}s" if isinstance(value, float) else value


_STATUSES: Final = "Statuses of responses that count as failures."
_KEY: Final = "Key of the entry that the action makes."
_VALUE: Final = "Value of the entry that the action makes."
_ABSENT: Final = "Whether the entry is left out if the request lacks it; otherwise there is no descriptor."
_ONLY_ENVOY: Final = "Supported by Envoy only: ratelimitd envoy keeps it, ratelimitd proxy rejects it."

_TEXT_KINDS: Final[Abouts] = {
    "exact": About("The whole text."),
    "prefix": About("The beginning of the text."),
    "suffix": About("The end of the text."),
    "contains": About("A part of the text."),
}
_MATCHER: Final[Abouts] = {
    "name": About("Name of the header or query parameter.", None, ("x-api-key",)),
    "string_match": About("What the value must be, in Envoy's form."),
    "present_match": About("Whether it must be there (true) or must not (false)."),
}
_EXPECT: Final[Abouts] = {
    "descriptor_key": About(_KEY),
    "descriptor_value": About(_VALUE),
    "expect_match": About("Whether the entry is made if all match (true), or if not all do (false).", default=True),
}

ACTIONS: Final[Abouts] = {
    "generic_key": About("An entry that is always the same."),
    "request_headers": About("An entry with the value of a request header."),
    "query_parameters": About("An entry with the value of a query parameter."),
    "remote_address": About("An entry with the address of the client."),
    "masked_remote_address": About("An entry with the network of the client."),
    "header_value_match": About("An entry if headers match."),
    "query_parameter_value_match": About("An entry if query parameters match."),
    "destination_cluster": About("An entry with the name of the upstream."),
    "source_cluster": About("An entry with the name of the gateway."),
    **dict.fromkeys(("dynamic_metadata", "metadata", "extension", "remote_address_match"), About(_ONLY_ENVOY)),
}
"""Of an action."""

GATEWAY: Final[Mapping[str, Abouts]] = {
    "a gateway file": {
        "listen": About("Address and port to listen on; :PORT is every address of IPv4 and IPv6.", LISTEN),
        "upstreams": About("The upstreams, by name.", None, ({"app": {"url": "http://localhost:8081"}},)),
        "routes": About("Which requests go to which upstream; the first route that matches is used."),
        "policies": About("The policy, a list of policies, or the path of a file or folder, relative to this file."),
        "domain": About("Domain of the policies that applies; by default the only one."),
        "name": About("Value of the action source_cluster.", NAME),
        "trusted_proxies": About("Addresses and networks whose X-Forwarded-For is trusted.", [], (["10.0.0.0/8"],)),
        "tls": About("Certificate and key of the listener."),
        "limits": About("Limits on clients: sizes, times and connections."),
        "admin": About("Location of /metrics, /healthz and /readyz; by default on the listener."),
        "rate_limited_status": About("Status of a denied request.", RATE_LIMITED),
        "error_details": About("Whether the body of a denied request names its limit.", default=False),
        "underscores_in_headers": About(
            "Whether names of headers that programs read as another one are forwarded.", default=False
        ),
        "encoded_slash": About("Whether paths may have %2F, which is then kept as it is.", "reject"),
    },
    "an upstream": {
        "url": About("Scheme, host and port; requests keep their own path.", None, ("http://localhost:8081",)),
        "endpoints": About("URLs, in place of url, that requests are spread over.", None, (["http://app-1:8081"],)),
        "host": About("Host of its requests: keep, rewrite (that of the URL), or a host.", "keep"),
        "ca": About("PEM file of the authorities that verify its certificate; the system's by default."),
        "verify": About("Whether its certificate is verified; false is for development.", default=True),
        "breaker": About("Circuit breaker; false for none."),
        "balance": About("Ejection of one of several endpoints that fails; false for none."),
        **_with_defaults(
            {
                "max_connections": "Connections to each endpoint.",
                "max_connections_per_client": (
                    "Connections to each endpoint that one client may hold; by default as many as are free."
                ),
                "max_waiting": "Requests that wait for a connection to an endpoint.",
                "wait_timeout": "How long a request waits for a connection.",
                "connect_timeout": "Time for name resolution, connection and TLS handshake.",
                "response_timeout": "Time from the end of the request to the response head.",
                "read_timeout": "Time between two reads of a response body.",
                "tunnel_timeout": "Time of a WebSocket without a byte in either direction.",
                "idle_timeout": "How long an unused connection is kept.",
                "lifetime": "Age from which a connection is not reused; none by default.",
                "max_head": "Bytes of a response head.",
            },
            UpstreamOptions(),
        ),
    },
    "'breaker'": _with_defaults(
        {
            "consecutive": "Failures in a row that open it.",
            "error_rate": "Fraction of failures in window that opens it; at 1 only if nothing succeeds.",
            "minimum": "Requests in window below which error_rate does not apply.",
            "window": "Time over which error_rate is taken.",
            "open_for": "How long it is open.",
            "open_for_at_most": "Longest time that it is open; open_for is doubled after each failed probe.",
            "probes": "Requests at a time while it is half-open.",
            "successes": "Responses in a row that close it.",
            "statuses": _STATUSES,
        },
        BreakerOptions(),
    ),
    "'balance'": _with_defaults(
        {
            "failures": "Failures in a row that eject an endpoint.",
            "eject_for": "How long an endpoint is ejected, times its recent ejections.",
            "eject_for_at_most": "Longest ejection.",
            "statuses": _STATUSES,
        },
        BalanceOptions(),
    ),
    "'limits'": _with_defaults(
        {
            "max_head": "Bytes of a request head; more is 431.",
            "max_target": "Bytes of the request target; more is 414.",
            "max_headers": "Header lines; more is 431.",
            "max_body": "Bytes of a body; more is 413.",
            "head_timeout": "Time until a request head, and before it a TLS handshake, is complete.",
            "body_timeout": "Time without a byte of the request body.",
            "min_body_rate": "Bytes a second of a request body, on average; 0 for no such bound.",
            "idle_timeout": "Time between two requests of a connection.",
            "send_timeout": "Time without the client taking a byte of the response.",
            "max_connections": "Connections of all clients.",
            "max_connections_per_address": "Connections from one address, or one IPv6 network of 64 bits.",
            "methods": "Methods that requests may have: those that are known, or any in capitals.",
        },
        ServerOptions(),
    ),
    "'admin'": {
        "prefix": About("Path below which the pages are, on the listener.", None, ("/-",)),
        "port": About("Port of a listener of its own for the pages.", None, (9090,)),
    },
    "'tls'": {
        "cert": About("PEM file of the certificate, relative to this file."),
        "key": About("PEM file of its private key, relative to this file."),
    },
    "a route": {
        "match": About("Which requests the route is for; by default all."),
        "upstream": About("Where they are sent; need not be written if there is only one upstream."),
        "rate_limits": About("How they are limited: each item makes a descriptor, which the policies are asked about."),
        "timeout": About("Time until the response begins; by default response_timeout of the upstream."),
        "name": About("Name in metrics and the access log; by default the path."),
        "cors": About(
            "Which pages of other origins may send requests and read responses; by default the upstream says it."
        ),
    },
    "'match'": {
        "prefix": About("Beginning of the path.", "/", ("/api/",)),
        "path": About("The whole path.", None, ("/login",)),
        "regex": About("RE2 expression that matches the whole path."),
        "methods": About("Methods of the requests.", None, (["POST"],)),
        "hosts": About("Hosts of the requests, without port; * at one end is any text.", None, (["*.example.org"],)),
        "headers": About("Headers that the requests must have."),
        "ignore_case": About("Whether the case of the path does not count.", default=False),
        "ignore_trailing_slash": About("Whether a slash at the end of the path does not count.", default=False),
    },
    "a header to match": {
        **_MATCHER,
        **_TEXT_KINDS,
        "regex": About("RE2 expression that matches the whole value."),
        "present": About("Whether the header must be there (true) or must not (false)."),
        "invert": About("Whether the result is inverted.", default=False),
        "invert_match": About("Whether the result is inverted.", default=False),
        "treat_missing_header_as_empty": About("Whether a missing header counts as an empty one.", default=False),
    },
    "a query parameter to match": _MATCHER,
    "'string_match'": {
        **_TEXT_KINDS,
        "safe_regex": About("RE2 expression that matches the whole text, in Envoy's form."),
        "ignore_case": About("Whether case does not count.", default=False),
    },
    "'safe_regex'": {
        "regex": About("RE2 expression."),
        "google_re2": About("Accepted for Envoy's sake: expressions are always RE2."),
    },
    "'cors'": {
        "origins": About(
            'Origins as browsers send them, with *. for hosts below and :* for any port; "*" is any origin.',
            None,
            (["https://app.example.org"],),
        ),
        "methods": About('Methods that a preflight allows; "*" for any.', list(METHODS)),
        "headers": About('Request headers that a preflight allows; "*" for any.', list(HEADERS)),
        "expose_headers": About("Response headers that scripts can read, beside those of the gateway.", []),
        "max_age": About("How long a browser keeps the answer to a preflight.", None, ("10m",)),
        "credentials": About("Whether requests may carry cookies.", default=False),
    },
    "an origin": {"regex": About("RE2 expression that matches the whole origin.")},
    "an item of 'rate_limits'": {
        "actions": About("Each makes an entry of the descriptor."),
        "hits_addend": About("Cost of the request."),
        "limit": About("A limit that replaces that of the policies."),
        "stage": About("Stage of Envoy's filter; the proxy has 0 only.", 0),
        **dict.fromkeys(("disable_key", "apply_on_stream_done", "x_ratelimit_option"), About(_ONLY_ENVOY)),
    },
    "'hits_addend'": {
        "number": About("Hits that the request costs.", 1),
        "is_negative_hits": About("Whether the hits are given back instead.", default=False),
        "format": About(_ONLY_ENVOY),
    },
    "'limit'": {"rate_limit": About("The limit."), "dynamic_metadata": About(_ONLY_ENVOY)},
    "'rate_limit'": {
        "requests_per_unit": About("Requests that pass in a window."),
        "unit": About("Length of the window."),
    },
    "'generic_key'": {"descriptor_value": About(_VALUE), "descriptor_key": About(_KEY, "generic_key")},
    "'request_headers'": {
        "header_name": About("Name of the header, or :path, :method, :authority or :scheme.", None, ("x-api-key",)),
        "descriptor_key": About(_KEY, None, ("api_key",)),
        "skip_if_absent": About(_ABSENT, default=False),
    },
    "'query_parameters'": {
        "query_parameter_name": About("Name of the query parameter."),
        "descriptor_key": About(_KEY),
        "skip_if_absent": About(_ABSENT, default=False),
    },
    "'masked_remote_address'": {
        "v4_prefix_mask_len": About("Bits of an IPv4 network.", 32),
        "v6_prefix_mask_len": About("Bits of an IPv6 network.", 128),
    },
    "'header_value_match'": {**_EXPECT, "headers": About("Headers to match.")},
    "'query_parameter_value_match'": {**_EXPECT, "query_parameters": About("Query parameters to match.")},
}
"""By the names of the maps in errors (``MapReader.what``), and key."""
