"""The scenarios that the service was built against, by number, and the tests that hold each.

A test whose name has ``row_NN`` in it belongs to row NN by that; only the others are listed here. There is no row 39:
what proxied bytes can do is held by ``tests/http1``.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from testkit.page import replaced

PAGE: Final = Path(__file__).parents[2] / "docs" / "reliability.md"
PART: Final = "scenarios"


class Row(NamedTuple):
    """What goes wrong, and names of tests without ``row_NN``, by file."""

    scenario: str
    tests: Mapping[str, str] = MappingProxyType({})


ROWS: Final = {
    1: Row("Redis is not there when the service starts"),
    2: Row("Redis dies under load"),
    3: Row("Redis hangs, is slow, or is out of reach"),
    4: Row("Redis loses the script"),
    5: Row("the script is lost within a pipeline, in a cluster"),
    6: Row("another server becomes the master"),
    7: Row("slots move to another server", {"stores/test_redis_cluster": "moved_is_followed_once a_slot_half_moved"}),
    8: Row("keys of one request lie in several slots"),
    9: Row("many want to connect again at once"),
    10: Row(
        "an answer is lost after its call was executed",
        {"stores/test_redis_server": "a_lost_connections_calls_are_not_sent_again"},
    ),
    11: Row("a caller goes while its answer is on the way"),
    12: Row("connections come and go for long"),
    13: Row(
        "a key has no expiry",
        {
            "contract/test_redis": "no_key_without_expiry",
            "algorithms/test_script": "lua_decides_as_python_does a_lost_expiry_is_set_again",
        },
    ),
    14: Row(
        "Redis has no memory left",
        {
            "algorithms/test_script": "a_full_redis_fails_what_it_cannot_keep",
            "stores/test_redis_full": "a_rejected_hit_that_cannot_be_counted_is_a_denial",
        },
    ),
    15: Row(
        "a key holds what is not ours, or what another algorithm left",
        {
            "contract/test_redis": "a_foreign_value_harms_its_charge_alone",
            "contract/test_every_store": "two_algorithms_under_one_key",
            "limiter/test_keys": "items_windows_and_algorithms_have_counters_of_their_own",
            "algorithms/test_every_algorithm": "state_survives_a_change_of_the_limit",
        },
    ),
    16: Row("clocks of hosts differ"),
    17: Row("the clock of Redis jumps"),
    18: Row(
        "a burst around the edge of a window",
        {
            "algorithms/test_sliding_window_counter": "the_stated_error_holds",
            "algorithms/test_meter": "no_interval_admits_more_than_burst_and_rate",
            "algorithms/test_script": "a_fixed_windows_counter_is_shared_with_upstream",
        },
    ),
    19: Row(
        "a reset that wobbles from answer to answer",
        {"rls/test_headers": "the_headers_show_one_descriptor_as_upstream_picks_it"},
    ),
    20: Row(
        "one hot key",
        {
            "limiter/test_guards": "a_remembered_denial_covers_its_cost_and_larger_ones the_cache_is_bounded_in_bytes",
            "app/test_process": "the_over_limit_cache_spares_redis",
            "stores/test_redis_store": "a_tick_is_one_call",
            "algorithms/test_script": "equal_keys_are_named_once",
            "contract/test_contention": "processes_together_admit_exactly_the_limit",
        },
    ),
    21: Row(
        "a client that goes on asking in vain",
        {
            "algorithms/test_sliding_window": "a_denial_and_a_peek_add_no_entry",
            "algorithms/test_fixed_window": "rejected_hits_count_only_when_told",
            "contract/test_every_store": "atomic_charges_all_or_nothing independent_charges_do_not_veto",
            "rls/test_service": "all_or_nothing_charges_nobody_when_one_denies",
        },
    ),
    22: Row(
        "some limits of a request can be decided and some cannot",
        {
            "limiter/test_answer": "a_known_denial_beats_a_failure a_shadow_limits_failure_fails_nobody",
            "contract/test_every_store": "a_settled_failure_does_not_veto",
            "stores/test_redis_two": "one_of_them_away",
            "stores/test_redis_cluster": "all_or_nothing_that_was_torn a_server_that_hangs_costs_its_own_slots_alone",
        },
    ),
    23: Row(
        "costs and limits of nothing, of too much, and of all that a number holds",
        {
            "algorithms/test_every_algorithm": "a_quota_of_zero_denies_everything extremes_admit_exactly_the_quota"
            " every_intermediate_is_an_exact_double retry_after_is_exact",
            "algorithms/test_script": "the_largest_limit_in_lua",
            "contract/test_every_store": "peeks_and_give_backs",
            "limiter/test_plan": "the_cost_of_a_descriptor an_unlimited_limit_makes_no_charge",
            "limiter/test_guards": "a_cost_that_never_passes_is_not_remembered",
        },
    ),
    24: Row(
        "rates so slow or so fast that rounding could end a key or lose requests",
        {
            "algorithms/test_every_algorithm": "reset_after_is_when_the_state_means_nothing",
            "algorithms/test_meter": "a_fast_rate_loses_nothing_to_microseconds",
            "algorithms/test_rate": "a_meter_is_never_faster_than_written",
        },
    ),
    25: Row(
        "numbers that Lua would round, cut or lose",
        {
            "algorithms/test_script": "lua_decides_as_python_does a_count_out_of_range_is_taken_as_the_nearest"
            " time_is_redis_own_unless_given",
            "contract/test_same_decisions": "both_stores_decide_alike",
        },
    ),
    26: Row(
        "a policy that is wrong, at the start or later",
        {
            "app/test_process": "a_bad_first_policy_is_up_unready_and_unavailable",
            "app/test_admin_api": "the_policy_is_told_through_its_changes",
            "e2e/test_rolling": "a_reload_under_traffic_fails_no_call_and_then_bites",
            "policy/test_parse": "any_file_is_a_policy_or_errors_with_lines every_error_of_every_file_is_reported",
            "sources/test_loader": "a_child_that_dies_is_an_error a_child_that_hangs_is_ended",
        },
    ),
    27: Row(
        "a policy in a ConfigMap",
        {
            "sources/test_files": "a_config_map_is_read_once_without_being_told"
            " a_config_map_flip_changes_the_signature",
            "sources/test_watch": "a_change_is_loaded_once_it_rests a_change_during_a_reload_is_not_lost",
            "app/test_process": "sighup_reloads",
            "k8s/test_manifests": "mounts_are_volumes_and_volumes_are_objects",
        },
    ),
    28: Row(
        "a policy that changes while calls are under way",
        {"rls/test_service": "a_reload_changes_what_is_decided_and_keeps_counters"},
    ),
    29: Row(
        "a service that is to end",
        {
            "app/test_process": "sigterm_serves_through_the_delay_and_ends_with_0 a_second_signal_ends_at_once",
            "e2e/test_rolling": "a_rolling_restart_of_two_services_fails_no_call",
            "transport/test_nghttp2_server": "a_drain_loses_no_call",
            "transport/test_every_transport": "stop_lets_calls_in_flight_finish stop_ends_what_outlasts_the_grace",
            "k8s/test_manifests": "the_drain_ends_before_the_pod_does the_drain_outlasts_dns",
        },
    ),
    30: Row(
        "connections that never end, so that new pods get no calls",
        {
            "transport/test_lifetime": "an_old_connection_gets_a_notice_then_goaway_then_its_end",
            "transport/test_every_transport": "an_aged_connection_leaves_without_losing_a_call",
            "transport/test_nghttp2_server": "ages_differ",
            "k8s/test_manifests": "connections_end_soon_enough_to_spread",
        },
    ),
    31: Row(
        "clients that flood, reset, or do not read",
        {
            "transport/test_floods": "a_flood_ends_the_connection a_continuation_flood_ends_the_connection",
            "transport/test_every_transport": "one_call_too_many_is_refused_at_once",
            "transport/test_nghttp2_server": "a_flood_ends_that_connection_alone"
            " a_caller_that_does_not_read_is_paused_then_closed one_connection_too_many_is_closed",
            "transport/test_session_bounds": "memory_stays_flat unread_answers_have_a_bound",
        },
    ),
    32: Row(
        "messages that are too large",
        {
            "transport/test_every_transport": "a_message_over_the_bound_is_refused",
            "transport/test_session": "headers_have_bounds",
            "rls/test_service": "descriptors_and_entries_are_bounded",
            "limiter/test_keys": "a_caller_can_choose_neither_slot_nor_length",
        },
    ),
    33: Row(
        "requests that mean nothing",
        {
            "rls/test_service": "what_cannot_be_decided_is_the_callers_error a_descriptor_without_entries_is_ok"
            " an_unknown_domain_passes_and_is_counted values_that_are_not_utf8_are_decided_like_others"
            " no_bytes_cause_more_than_an_error_of_their_own a_fault_of_ours_stays_with_the_call_that_met_it",
            "fuzz/test_requests": "any_bytes_are_answered_once_and_never_by_a_fault_of_ours",
        },
    ),
    34: Row(
        "a caller who chooses the name of a counter",
        {
            "limiter/test_keys": "keys_of_ours_tell_all_descriptors_apart a_caller_can_choose_neither_slot_nor_length",
            "limiter/test_overflow_names": "no_request_can_name_an_overflow_counter",
        },
    ),
    35: Row(
        "a caller who invents keys",
        {
            "limiter/test_new_keys": "past_the_cap_new_keys_share_one_counter_and_known_ones_do_not"
            " a_flood_takes_no_more_room_than_its_cap",
            "stores/test_memory": "the_bound_holds_and_evictions_are_counted a_flood_does_not_lift_a_limit",
            "limiter/test_plan": "remembered_plans_are_bounded_in_bytes",
            "limiter/test_guards": "the_cache_is_bounded_in_bytes",
            "policy/test_identity": "an_address_is_one_caller",
        },
    ),
    36: Row(
        "a caller who invents metrics",
        {
            "limiter/test_stats": "series_made_by_requests_are_capped unknown_domains_are_capped_and_told_once",
            "limiter/test_plan": "values_of_requests_reach_metrics_only_where_asked",
        },
    ),
    37: Row(
        "logs that fill up or tell secrets",
        {
            "observe/test_logs": "hidden_values_are_masked_everywhere credentials_of_urls_are_masked",
            "app/test_process": "secrets_are_nowhere",
            "stores/test_redis_store": "kill_and_restart",
            "stores/test_redis_connection": "an_error_that_repeats_the_password",
            "admin/test_guard": "a_flood_of_wrong_tokens_fills_no_log_and_shows_no_token",
        },
    ),
    38: Row(
        "probes that lie",
        {
            "admin/test_routes": "liveness_does_not_depend_on_any_component readyz_names_what_is_not_ready",
            "app/test_process": "it_listens_before_redis_is_up health_follows_redis_only_where_a_limit_needs_it",
            "rls/test_health": "check_says_what_health_says watch_tells_each_change",
            "k8s/test_manifests": "probes_ask_for_what_there_is",
            "stores/test_redis_server": "probes_are_the_script",
        },
    ),
    40: Row(
        "something that holds the event loop",
        {
            "observe/test_loop": "a_held_loop_is_seen a_tamed_collector_leaves_a_large_heap_alone",
            "sources/test_loader": "the_loop_runs_between_slices a_loaded_policy_is_out_of_the_collectors_sight",
            "observe/test_metrics": "a_scrape_of_100_000_limits_gives_way_between_bounded_chunks",
            "admin/test_rlconfig": "100_000_limits_are_sorted_in_slices",
            "faults/test_redis_recovery": "an_outage_does_not_hold_the_loop",
            "stores/test_redis_store": "a_stall_of_our_own_is_not_a_timeout",
        },
    ),
    41: Row(
        "no file descriptor is left", {"sources/test_resilience": "a_child_that_cannot_start_is_an_error_of_that_load"}
    ),
    42: Row(
        "a process of several that dies; a container runs one, so Kubernetes starts the next",
        {
            "limiter/test_guards": "local_counts_this_replicas_share",
            "e2e/test_envoy": "failure_mode_decides_when_the_service_is_killed",
            "k8s/test_manifests": "no_pod_grants_more_than_its_part",
        },
    ),
}


def listed(row: Row) -> list[str]:
    """The tests that a row lists, by pytest's names."""
    return [f"tests/{file}.py::test_{name}" for file, names in row.tests.items() for name in names.split()]


def held(number: int, there: Iterable[str]) -> list[str]:
    """The tests of a row among those that there are: the listed ones, and those with its number in their name."""
    wanted = set(listed(ROWS[number]))
    return sorted(test for test in there if test in wanted or f"row_{number:02}" in test.partition("::")[2])


def table(there: Iterable[str]) -> str:
    """The rows for the page, with the files that hold each."""
    there = list(there)
    lines = ["| row | what goes wrong | held by |", "|---:|---|---|"]
    for number, row in ROWS.items():
        files = dict.fromkeys(test.partition("::")[0] for test in held(number, there))
        names = ", ".join(f"[{file.removeprefix('tests/')}](../{file})" for file in files)
        lines.append(f"| {number} | {row.scenario} | {names} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    from tests.collected import collected

    PAGE.write_text(replaced(PAGE.read_text(), PART, table(collected())))
