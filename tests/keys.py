"""Every key of a policy file, of an overlay and of a gateway file, and the test that shows what it does.

Such a test observes an effect: a decision, a header, a metric, a forwarded request, a closed connection.
Keys for Envoy alone are tested by what the bootstrap says. ``test_keys.py`` compares the tables with the parsers.
"""

from collections.abc import Mapping
from typing import Final


def _below(path, tests):
    """Return the keys below a path, each with its test; ``tests`` has the keys of each test."""
    return {f"{path}.{key}".lstrip("."): test for test, keys in tests.items() for key in keys}


_POLICY: Final = "tests/policy_file/test_effects.py::"
_CLIENTS: Final = "tests/http1/test_clients.py::"
_BOUNDS: Final = "tests/http1/test_wire_bounds.py::"
_RESPONSES: Final = "tests/http1/test_wire_responses.py::"
_FAIRNESS: Final = "tests/http1/test_fairness.py::"
_FAILURES: Final = "tests/http1/test_failures.py::"
_TUNNEL: Final = "tests/http1/test_tunnel.py::"
_BREAKER: Final = "tests/http1/test_circuit_breaker.py::"
_BALANCE: Final = "tests/http1/test_balance.py::"
_GATEWAY: Final = "tests/app/test_gateway_effects.py::"
_CORS: Final = "tests/app/test_gateway_cors.py::"
_UPSTREAMS: Final = "tests/app/test_gateway_upstreams.py::"
_PROCESS: Final = "tests/gateway/test_process.py::"
_QUEUE: Final = "tests/gateway/test_queue.py::"
_LISTENING: Final = "tests/gateway/test_process_listening.py::"
_ROUTING: Final = "tests/gateway/test_routing.py::"
_ACTIONS: Final = "tests/gateway/test_actions.py::"
_ENVOY: Final = "tests/gateway/test_envoy.py::test_what_only_envoy_can_do_is_in_its_bootstrap"

_LIMIT: Final[Mapping[str, tuple[str, ...]]] = {
    _POLICY + "test_a_limit_allows_its_requests_per_unit": ("unit", "requests_per_unit"),
    _POLICY + "test_a_limit_replaces_the_one_with_a_name": ("name", "replaces"),
    _POLICY + "test_a_limit_counts_by_its_own_algorithm": ("algorithm",),
    _POLICY + "test_a_burst_passes_at_once": ("burst",),
    _POLICY + "test_a_unit_multiplier_makes_the_window_longer": ("unit_multiplier",),
    _POLICY + "test_a_rejected_request_is_charged_where_count_rejected_says_so": ("count_rejected",),
    _POLICY + "test_charge_says_whether_costs_are_reported_or_asked_for": ("charge",),
    _POLICY + "test_reserve_holds_a_part_of_the_limit_for_each_answer_in_progress": ("reserve",),
    _POLICY + "test_concurrent_limits_requests_in_progress": ("concurrent", "ttl"),
    _QUEUE + "test_requests_of_a_key_wait_and_are_served_in_their_order": ("queue",),
}
_MODES: Final[Mapping[str, tuple[str, ...]]] = {
    _POLICY + "test_a_shadow_limit_denies_no_request_and_is_counted": ("shadow_mode",),
    _POLICY + "test_quota_limits_deny_only_all_together": ("quota_mode",),
    _POLICY + "test_on_store_failure_decides_while_the_store_is_lost": ("on_store_failure",),
}

POLICY_KEYS: Final[Mapping[str, str]] = {
    "domain": _POLICY + "test_a_domain_limits_its_own_requests",
    "descriptors": _POLICY + "test_a_descriptor_limits_the_entries_with_its_key_and_value",
    "default_algorithm": _POLICY + "test_the_default_algorithm_counts_limits_that_name_none",
    "default_charge": _POLICY + "test_default_charge_is_that_of_limits_that_say_nothing",
    "all_or_nothing": _POLICY + "test_all_or_nothing_charges_no_limit_when_one_denies",
    "identity": _POLICY + "test_an_identity_limits_known_keys_by_tier_and_others_by_address",
    **_below(
        "identity",
        {
            _POLICY + "test_an_identity_limits_known_keys_by_tier_and_others_by_address": (
                *("key", "otherwise", "tiers", "tiers_file"),
            ),
            _POLICY + "test_addresses_of_one_ipv6_prefix_are_one_caller": ("ipv6_prefix",),
        },
    ),
    **_below(
        "descriptors",
        {
            _POLICY + "test_a_descriptor_limits_the_entries_with_its_key_and_value": ("key", "value", "descriptors"),
            _POLICY + "test_a_limit_allows_its_requests_per_unit": ("rate_limit",),
            _POLICY + "test_each_of_several_limits_may_deny": ("rate_limits",),
            _POLICY + "test_a_request_is_counted_under_the_name_that_the_flags_give": (
                *("detailed_metric", "value_to_metric"),
            ),
            _POLICY + "test_share_threshold_gives_all_values_of_a_wildcard_one_counter": ("share_threshold",),
            "tests/rls/test_service.py::test_dynamic_metadata": ("metadata",),
            **_MODES,
        },
    ),
    **_below("rate_limit", {**_LIMIT, _POLICY + "test_an_unlimited_limit_never_denies": ("unlimited",)}),
    **_below(
        "rate_limits",
        {
            **_LIMIT,
            **_MODES,
            "tests/policy_file/test_own_keys.py::test_a_wrong_use_of_an_extension_says_what_to_do": ("unlimited",),
        },
    ),
    **_below(
        "reserve",
        {
            _POLICY + "test_reserve_holds_a_part_of_the_limit_for_each_answer_in_progress": (
                *("amount", "start", "ttl"),
            ),
        },
    ),
    **_below(
        "queue",
        {
            _QUEUE + "test_a_full_line_denies_at_once_with_an_honest_time": ("length",),
            _QUEUE + "test_a_wait_that_lasts_too_long_is_denied": ("timeout",),
        },
    ),
    **_below("replaces", {_POLICY + "test_a_limit_replaces_the_one_with_a_name": ("name",)}),
}
"""By ``level.key`` of ``ratelimitd.policy_file.fields.LEVELS``; keys at the top of the file stand alone."""

_OVERLAY: Final = "tests/policy_file/test_overlaying.py::"

OVERLAY_KEYS: Final[Mapping[str, str]] = {
    "overlay": _OVERLAY + "test_a_limit_gets_what_the_overlay_says",
    **_below(
        "overlay",
        {
            _OVERLAY + "test_entries_know_what_they_are_for": ("domain",),
            _OVERLAY + "test_an_entry_is_for_the_limits_of_its_path_alone": ("path",),
            _OVERLAY + "test_defaults_of_a_domain": ("default_algorithm", "default_charge"),
            _OVERLAY + "test_a_limit_gets_what_the_overlay_says": (
                *("algorithm", "burst", "charge", "reserve", "on_store_failure"),
            ),
            _OVERLAY + "test_an_overlay_may_say_how_requests_wait": ("queue",),
        },
    ),
}
"""By the keys of an overlay; below ``reserve`` and ``queue`` they are those of a policy file."""

_LISTENER: Final[Mapping[str, tuple[str, ...]]] = {
    _BOUNDS + "test_a_bound_of_request_heads_is_its_option": ("max_head", "max_target", "max_headers"),
    _BOUNDS + "test_a_body_that_says_it_is_too_large_is_413_before_the_upstream_sees_it": ("max_body",),
    _CLIENTS + "test_a_silent_connection_is_closed": ("head_timeout", "idle_timeout"),
    _CLIENTS + "test_a_slow_body_is_408_and_the_upstream_is_cut_off": ("body_timeout",),
    _FAIRNESS + "test_a_body_that_only_drips_is_408_and_no_evidence_against_the_upstream": ("min_body_rate",),
    _CLIENTS + "test_a_client_that_never_reads_is_given_up": ("send_timeout",),
    _CLIENTS + "test_one_connection_too_many_is_503": ("max_connections", "max_connections_per_address"),
    "tests/http1/test_other_methods.py::test_any_method_is_forwarded_where_the_option_says_so": ("methods",),
}

_CONNECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    _FAILURES + "test_the_pool_is_bounded_and_those_who_wait_are_served_in_order": ("max_connections",),
    _FAIRNESS + "test_max_connections_per_client_is_what_one_client_holds": ("max_connections_per_client",),
    _FAILURES + "test_no_connection_free_is_503": ("max_waiting", "wait_timeout"),
    _FAILURES + "test_a_connection_that_is_not_made_in_time_is_504": ("connect_timeout",),
    _FAILURES + "test_an_upstream_that_does_not_answer_is_504": ("response_timeout",),
    _FAILURES + "test_an_upstream_that_falls_silent_truncates_the_answer": ("read_timeout",),
    _TUNNEL + "test_a_tunnel_nobody_uses_is_closed": ("tunnel_timeout",),
    _FAILURES + "test_connections_do_not_grow_old": ("idle_timeout", "lifetime"),
    _RESPONSES + "test_a_response_head_is_bounded": ("max_head",),
}

_BREAKERS: Final[Mapping[str, tuple[str, ...]]] = {
    _BREAKER + "test_it_opens_by_row_and_by_share": ("consecutive", "error_rate", "minimum", "window", "statuses"),
    _BREAKER + "test_open_admits_nobody_for_a_while": ("open_for",),
    _BREAKER + "test_failed_probes_wait_longer_each_time_up_to_a_bound": ("open_for_at_most",),
    _BREAKER + "test_probes_and_successes_are_as_many_as_the_options_say": ("probes", "successes"),
}

_EJECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    _BALANCE + "test_failures_in_a_row_eject_for_a_while": ("failures", "eject_for", "eject_for_at_most"),
    _BALANCE + "test_failures_in_a_row_eject_by_their_origin": ("statuses",),
}

_STRING_MATCH: Final = (
    *("string_match", "string_match.exact", "string_match.prefix", "string_match.suffix", "string_match.contains"),
    *("string_match.safe_regex", "string_match.safe_regex.regex", "string_match.safe_regex.google_re2"),
    "string_match.ignore_case",
)
_HEADER: Final = ("name", *_STRING_MATCH, "present_match", "invert_match", "treat_missing_header_as_empty")
_QUERY: Final = ("name", *_STRING_MATCH, "present_match")

_MATCH: Final[Mapping[str, tuple[str, ...]]] = {
    _ROUTING + "test_paths_are_matched_as_they_are_after_normalisation": ("prefix", "path", "regex"),
    _ROUTING + "test_methods_are_matched": ("methods",),
    _ROUTING + "test_hosts_are_matched_without_port_case_and_dot": ("hosts",),
    _ROUTING + "test_case_and_a_slash_at_the_end_do_not_count_where_the_file_says_so": (
        "ignore_case",
        "ignore_trailing_slash",
    ),
    _ROUTING + "test_headers_are_matched_line_by_line": (
        "headers",
        *(f"headers.{key}" for key in _HEADER),
        *(f"headers.{key}" for key in ("exact", "prefix", "suffix", "contains", "regex", "present", "invert")),
    ),
}

_VALUE: Final = ("", ".descriptor_key", ".descriptor_value", ".expect_match")
_ACTION: Final[Mapping[str, tuple[str, ...]]] = {
    _ACTIONS + "test_an_action_makes_its_entry": (
        *("generic_key", "generic_key.descriptor_key", "generic_key.descriptor_value"),
        *("request_headers", "request_headers.header_name", "request_headers.descriptor_key"),
        *("query_parameters", "query_parameters.query_parameter_name", "query_parameters.descriptor_key"),
        "remote_address",
    ),
    _ACTIONS + "test_an_action_that_cannot_append_drops_its_descriptor_alone": ("request_headers.skip_if_absent",),
    _ACTIONS + "test_an_absent_parameter_is_skipped_where_the_file_says_so": ("query_parameters.skip_if_absent",),
    _ACTIONS + "test_an_address_may_be_masked": (
        *("masked_remote_address", "masked_remote_address.v4_prefix_mask_len"),
        "masked_remote_address.v6_prefix_mask_len",
    ),
    _ACTIONS + "test_a_match_makes_its_entry": (
        *(f"header_value_match{key}" for key in (*_VALUE, ".headers")),
        *(f"header_value_match.headers.{key}" for key in _HEADER),
        *(f"query_parameter_value_match{key}" for key in (*_VALUE, ".query_parameters")),
        *(f"query_parameter_value_match.query_parameters.{key}" for key in _QUERY),
    ),
    _ACTIONS + "test_clusters_are_the_upstream_and_the_gateway": ("destination_cluster", "source_cluster"),
    _ENVOY: ("dynamic_metadata", "metadata", "extension", "remote_address_match"),
}

_RATE_LIMITS: Final[Mapping[str, tuple[str, ...]]] = {
    _GATEWAY + "test_a_route_is_limited_by_its_rate_limits": ("actions",),
    _GATEWAY + "test_hits_addend_is_what_a_request_costs": (
        *("hits_addend", "hits_addend.number", "hits_addend.is_negative_hits"),
    ),
    _GATEWAY + "test_a_limit_of_the_route_overrides_the_policys": (
        *("limit", "limit.rate_limit", "limit.rate_limit.requests_per_unit", "limit.rate_limit.unit"),
    ),
    _ENVOY: (
        *("hits_addend.format", "limit.dynamic_metadata", "stage"),
        *("disable_key", "apply_on_stream_done", "x_ratelimit_option"),
    ),
}

_CORS_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    _CORS + "test_preflights_of_an_allowed_origin_are_answered_and_not_counted": (
        *("methods", "headers", "max_age", "expose_headers"),
    ),
    _CORS + "test_origins_are_compared_whole": ("origins", "origins.regex"),
    _CORS + "test_the_route_speaks_for_the_upstream": ("credentials",),
}

GATEWAY_KEYS: Final[Mapping[str, str]] = {
    "listen": _LISTENING + "test_it_listens_where_its_file_says",
    "upstreams": _GATEWAY + "test_a_route_forwards_to_its_upstream",
    "upstreams.url": _GATEWAY + "test_a_route_forwards_to_its_upstream",
    "upstreams.endpoints": _GATEWAY + "test_requests_are_spread_over_the_endpoints",
    "upstreams.host": _UPSTREAMS + "test_an_upstream_gets_the_host_that_the_file_says",
    "upstreams.ca": _UPSTREAMS + "test_a_certificate_is_verified_as_the_file_says",
    "upstreams.verify": _UPSTREAMS + "test_a_certificate_is_verified_as_the_file_says",
    "upstreams.breaker": _GATEWAY + "test_an_upstream_that_failed_is_left_alone_for_as_long_as_the_file_says",
    "upstreams.balance": _GATEWAY + "test_an_endpoint_that_failed_is_left_alone_for_as_long_as_the_file_says",
    **_below("upstreams", _CONNECTIONS),
    **_below("upstreams.breaker", _BREAKERS),
    **_below("upstreams.balance", _EJECTIONS),
    "routes": _GATEWAY + "test_a_route_forwards_to_its_upstream",
    "routes.upstream": _GATEWAY + "test_a_route_forwards_to_its_upstream",
    "routes.match": _GATEWAY + "test_a_route_forwards_to_its_upstream",
    **_below("routes.match", _MATCH),
    "routes.name": _GATEWAY + "test_a_routes_name_is_the_one_in_log_and_metrics",
    "routes.timeout": _GATEWAY + "test_a_route_bounds_the_wait_for_a_response",
    "routes.rate_limits": _GATEWAY + "test_a_route_is_limited_by_its_rate_limits",
    **_below("routes.rate_limits", _RATE_LIMITS),
    "routes.cors": _CORS + "test_preflights_of_an_allowed_origin_are_answered_and_not_counted",
    **_below("routes.cors", _CORS_KEYS),
    **_below("routes.rate_limits.actions", _ACTION),
    "policies": _GATEWAY + "test_policies_may_stand_in_a_folder",
    "domain": _GATEWAY + "test_the_domain_says_whose_limits_apply",
    "name": _GATEWAY + "test_the_name_of_the_gateway_is_the_source_cluster",
    "trusted_proxies": _GATEWAY + "test_a_trusted_proxy_says_who_the_client_is",
    "tls": _LISTENING + "test_it_speaks_tls_with_the_certificate_of_its_file",
    "tls.cert": _LISTENING + "test_it_speaks_tls_with_the_certificate_of_its_file",
    "tls.key": _LISTENING + "test_it_speaks_tls_with_the_certificate_of_its_file",
    "limits": _GATEWAY + "test_limits_bound_what_a_client_may_send",
    **_below("limits", _LISTENER),
    "admin": _PROCESS + "test_its_pages_answer_alike_wherever_the_file_has_them",
    "admin.prefix": _PROCESS + "test_its_pages_answer_alike_wherever_the_file_has_them",
    "admin.port": _PROCESS + "test_its_pages_answer_alike_wherever_the_file_has_them",
    "rate_limited_status": _GATEWAY + "test_a_denial_has_the_status_that_the_file_says",
    "underscores_in_headers": _GATEWAY
    + "test_a_name_that_an_upstream_reads_as_another_is_dropped_unless_the_file_says_so",
    "error_details": _GATEWAY + "test_a_denial_names_limit_and_wait_where_the_file_says_so",
    "encoded_slash": _GATEWAY + "test_an_encoded_slash_is_kept_where_the_file_says_so",
}
"""By the keys of the file, from its top down; lists and the names of upstreams are left out."""
