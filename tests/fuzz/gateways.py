"""Gateway files, drawn from their schema."""

from typing import Any

from hypothesis import strategies as st

from tests.fuzz.documents import counts, files, flags, lists, maps, mostly, odd, one_of

words = one_of(
    "a", "app", "x-key", "'é'", "'a b'", "'*'", r'"\r\nX: y"', r'"\0"', "10", "true", "x" * 300, "'%s'", "ratelimitd"
)
paths = one_of("/", "/a", "/a/b", "/a%20b", "/a/", "/a-b")
paths = mostly(paths, one_of("'/é'", "/a//b", "/../a", "a", "'/#'", "'/a?b'", "/%2f", "'/\"'"), 16)
patterns = one_of("/.*", "'/v[0-9]+/.*'", "'(?i)é'", r'"\\p{L}"', "'(a*)*'", "'[[:alpha:]]'", "'^/a$|/b'", r"'\Q$'")
patterns = mostly(patterns, one_of("'('", "'a{1000}{1000}'", r"'\1'", r'"\0"', "'((a{100}){10}){10}'"), 16)
durations = one_of("1s", "500ms", "2m", "1h", "15", "0.5", ".5s")
daring = one_of("0", "-1s", "1e3", "1ns", "9" * 30, "9" * 400, "'9'", "1000000h", "99999999999h")
times = mostly(durations, daring, 24)
sizes = one_of("8KiB", "10MiB", "1", "100", "1g", "64k")
daring_sizes = one_of("0", "4GiB", "9" * 12, "9" * 30, "99999999g", "8 KiB", "-1", "1.5k", "9" * 5000)
large = mostly(sizes, daring_sizes, 12)
numbers = one_of("1", "2", "100", "1000000")
shares = mostly(one_of("0.5", "1", "1e-300", ".1"), one_of("0", "1.1", ".nan", ".inf"), 16)
hosts = one_of("example.org", "'*.example.org'", "'example.*'", "'*'", "'[::1]'", "'EXAMPLE'")
hosts = mostly(hosts, one_of("'**'", "'a:80'", "'é'", "'[*]'", "'*['"), 16)
urls = one_of("http://localhost:8081", "https://a", "'http://[::1]:80'", "http://127.0.0.1:1/", "https://a.b:8443")
daring_urls = one_of(
    *("http://a:0", "http://a:99999", "http://a/b", "'http://[::1'", "'http://é'", "ftp://a", "http://u:p@a", "a:1"),
    *(
        "'http://a#b'",
        "'http://a?b'",
        "'http://a b'",
        "http://",
        "'http://[v1.a]:1'",
        "'http://a:٣'",
        "'http://[::1%25e]'",
    ),
)
endpoints = mostly(urls, daring_urls, 24)

text_match: dict[str, st.SearchStrategy[Any]] = {
    "exact": words | one_of("''"),
    "prefix": words,
    "suffix": words,
    "contains": words,
    "ignore_case": flags,
}
string_match = st.sampled_from(["exact", "prefix", "suffix", "contains", "safe_regex"]).flatmap(
    lambda kind: maps(
        {kind: maps({"regex": patterns}, {"google_re2": maps({}, {})}) if kind == "safe_regex" else text_match[kind]},
        {"ignore_case": flags},
    )
)
header_names = one_of("x-a", "X-Key", "':path'", "':authority'", "host", "authorization")
header_names = mostly(header_names, one_of("':status'", "'a b'", "'é'", "':'"), 16)
named = {"name": header_names}
extras = {"invert_match": flags, "treat_missing_header_as_empty": flags}
envoy_headers = maps({**named, "string_match": string_match}, extras) | maps({**named, "present_match": flags}, extras)
route_headers = envoy_headers | st.sampled_from(["exact", "prefix", "suffix", "contains", "regex", "present"]).flatmap(
    lambda kind: maps({**named, kind: {"regex": patterns, "present": flags}.get(kind, words)}, {"invert": flags})
)
queries = maps({"name": words, "string_match": string_match}, {}) | maps({"name": words, "present_match": flags}, {})

value = {"descriptor_value": words}
key = {"descriptor_key": words}
bits = mostly(one_of("0", "8", "24", "32"), one_of("64", "128", "129"), 8)
nothing = maps({}, {})
actions: list[tuple[str, st.SearchStrategy[Any]]] = [
    ("remote_address", nothing),
    ("source_cluster", nothing),
    ("destination_cluster", nothing),
    ("generic_key", maps(value, key)),
    ("request_headers", maps({"header_name": header_names, **key}, {"skip_if_absent": flags})),
    ("query_parameters", maps({"query_parameter_name": words, **key}, {"skip_if_absent": flags})),
    ("masked_remote_address", maps({}, {"v4_prefix_mask_len": bits, "v6_prefix_mask_len": bits})),
    ("header_value_match", maps({**value, "headers": lists(envoy_headers, 2)}, {**key, "expect_match": flags})),
    ("query_parameter_value_match", maps({**value, "query_parameters": lists(queries, 2)}, {"expect_match": flags})),
]
envoy_actions: list[tuple[str, st.SearchStrategy[Any]]] = [
    ("metadata", maps({**key, "metadata_key": maps({"key": words}, {"path": lists(maps({"key": words}, {}))})}, {})),
    ("dynamic_metadata", maps({**key}, {"metadata_key": maps({"key": words}, {})})),
    (
        "extension",
        maps({"name": words}, {"typed_config": maps({}, {"'@type'": one_of("type.googleapis.com/a.b.C", "x", "os")})}),
    ),
    ("remote_address_match", maps(value, {"address_matcher": odd})),
]


def action(known):
    """Draw one of these actions."""
    return st.sampled_from(known).flatmap(lambda pair: maps({pair[0]: pair[1]}, {}))


units = mostly(one_of("SECOND", "minute", "Hour", "DAY", "month", "YEAR"), one_of("week", "unknown"), 16)
override = maps({"rate_limit": maps({"requests_per_unit": counts, "unit": units}, {})}, {})
hits = maps({}, {"number": counts, "is_negative_hits": flags})
daring_hits = maps({}, {"number": odd, "format": one_of("'%BYTES_RECEIVED%'", "''")})
rate_limits = maps({"actions": lists(action(actions), 3)}, {"hits_addend": hits, "limit": override})
daring_limits = maps(
    {"actions": lists(action([*actions, *envoy_actions]), 2)},
    {"stage": counts, "disable_key": words, "apply_on_stream_done": flags, "x_ratelimit_option": odd, "limit": override}
    | {"hits_addend": daring_hits},
)

match = st.sampled_from(["prefix", "path", "regex"]).flatmap(
    lambda kind: maps(
        {kind: patterns if kind == "regex" else paths},
        {
            "methods": lists(mostly(one_of("GET", "POST", "M-SEARCH"), one_of("get", "'é'", "' '"), 16)),
            "hosts": lists(hosts),
            "headers": lists(route_headers, 2),
            "ignore_case": flags,
            "ignore_trailing_slash": flags,
        },
    )
)
upstream_names = one_of("app", "'a b'", "é", "ratelimitd", "''")
route_fields = {"match": match, "rate_limits": lists(rate_limits, 2), "timeout": times, "name": words}
daring_fields = {"upstream": upstream_names, "rate_limits": lists(rate_limits | daring_limits, 2), "match": match}
routes = mostly(maps({"upstream": one_of("app")}, route_fields), maps({}, daring_fields), 8)

statuses = lists(mostly(one_of("502", "503", "504"), one_of("200", "'502'", "-1"), 16))
breaker = mostly(
    maps(
        {},
        {
            "consecutive": numbers,
            "error_rate": shares,
            "minimum": numbers,
            "window": times,
            "open_for": times,
            "statuses": statuses,
        },
    ),
    one_of("false", "off", "true"),
    4,
)
balance = mostly(
    maps({}, {"failures": numbers, "eject_for": times, "eject_for_at_most": times, "statuses": statuses}),
    one_of("false", "off", "true"),
    4,
)
connections = {
    "max_connections": numbers,
    "max_connections_per_client": numbers,
    "max_waiting": numbers,
    "wait_timeout": times,
    "connect_timeout": times,
    "response_timeout": times,
    "read_timeout": times,
    "idle_timeout": times,
    "lifetime": times,
    "max_head": large,
    "breaker": breaker,
    "balance": balance,
}
backends = maps({"url": endpoints}, connections) | maps({"endpoints": lists(endpoints)}, connections)
upstreams = maps({"app": backends}, {"'a b'": backends, "ratelimitd": backends, "é": backends})

limits = maps(
    {},
    {
        "max_head": large,
        "max_target": large,
        "max_headers": numbers,
        "max_body": large,
        "head_timeout": times,
        "body_timeout": times,
        "idle_timeout": times,
        "max_connections": numbers,
    },
)
policy = maps({"domain": one_of("d", "é", "'a b'")}, {"descriptors": lists(maps({"key": words}, {}))})
needed = {"upstreams": upstreams, "routes": lists(routes), "policies": policy | one_of("policies.yaml") | lists(policy)}
gateways = maps(
    needed,
    {
        "listen": mostly(
            one_of("':8080'", "127.0.0.1:0", "'[::]:1'", "'é:1'"), one_of("'[::1]:x'", "'a b:1'", "':99999'"), 8
        ),
        "domain": one_of("d", "é", "'a b'"),
        "name": words,
        "trusted_proxies": lists(
            mostly(one_of("10.0.0.0/8", "'::1'", "0.0.0.0/0"), one_of("10.0.0.1/8", "'fe80::1%1'", "'1'", "x", "::"), 8)
        ),
        "tls": maps({"cert": words, "key": words}, {}),
        "limits": limits,
        "underscores_in_headers": flags,
        "admin": maps({}, {"prefix": paths}) | maps({}, {"port": counts}),
        "rate_limited_status": mostly(one_of("429", "400", "599", "420"), one_of("600", "-1"), 8),
    },
)

TEMPLATES = [
    "upstreams: {app: {url: http://a}}\npolicies: {domain: d}\nroutes: %s\n",
    "upstreams: {app: {url: http://a}}\npolicies: {domain: d, descriptors: %s}\nroutes: [{}]\n",
    "upstreams: {a: {url: http://a}}\npolicies: {}\nroutes: [{rate_limits: [{actions: [{metadata: {a: %s}}]}]}]\n",
]
"""Where a bomb may be put."""
gateway_files = files(gateways)
