"""Keys that envoyproxy/ratelimit does not have: errors of their use, with what to write instead."""

import pytest

from ratelimitd.policy_file.fields import LEVELS, OWN_KEYS, TOP
from tests.policy_file.reading import HEAD, errors, limits

OWN_ERRORS = [
    (HEAD + "- {key: k, rate_limit: {unit: day}, rate_limits: [{unit: day}]}", "are mutually exclusive"),
    (HEAD + "- {key: k, rate_limits: []}", "'rate_limits' is empty"),
    (HEAD + "- {key: k, rate_limits: [{unit: day, name: a}, {unit: hour, name: a}]}", "duplicate limit name 'a'"),
    (HEAD + "- {key: k, rate_limits: [{unit: day, name: '1'}, {unit: hour}]}", "duplicate limit name '1'"),
    (HEAD + "- {key: k, rate_limits: [{unit: day}, {unit: day, algorithm: magic}]}", "'algorithm' must be one of"),
    (HEAD + "- {key: k, rate_limits: [{unlimited: true}]}", "'unlimited' is not allowed in 'rate_limits'"),
    (HEAD + "- {key: k, rate_limit: {unlimited: true, burst: 5}}", "has no counter: remove burst"),
    (HEAD + "- {key: k, rate_limit: {unit: day, burst: 5}}", "leave burst out, or change fixed_window|leave it out"),
    (HEAD + "- {key: k, rate_limit: {unit: day, algorithm: magic}}", "'algorithm' must be one of fixed_window, "),
    (HEAD + "- {key: k, rate_limit: {unit: day, unit_multiplier: 0}}", "'unit_multiplier' must be at least 1"),
    (HEAD + "- {key: k, rate_limit: {unit: year, unit_multiplier: 100}}", "out of range"),
    (
        HEAD + "- {key: k, rate_limit: {unit: day, requests_per_unit: 10001, algorithm: sliding_window}}",
        "write sliding_window_counter",
    ),
    (HEAD + "- {key: k, rate_limit: {unit: day, algorithm: gcra, count_rejected: false}}", "is for fixed_window"),
    (HEAD + "- {key: k, on_store_failure: local}", "move it to one with limits"),
    (HEAD + "- {key: k, rate_limit: {unit: day}, on_store_failure: never}", "must be one of error, allow, deny, local"),
    (HEAD + "- {key: k, burst: 5}", "'burst' is not allowed here: write it in 'rate_limit'"),
    (HEAD + "- {key: k, rate_limit: {unit: day, on_store_failure: deny}}", "write it in a descriptor, or in an item"),
    (HEAD + "- {key: k, default_algorithm: gcra}", "write it at the top of the file"),
    (HEAD + "- {key: !!binary '?', rate_limit: {unit: day}}", "'key' must be base64"),
    *[
        (HEAD + f"- {{key: k, rate_limit: {{{limit}}}}}", words)
        for limit, words in (
            ("concurrent: 5, unit: day, algorithm: gcra", "remove unit, algorithm"),
            ("concurrent: 5, reserve: {}, charge: after", "remove charge, reserve"),
            ("concurrent: 10001", "'concurrent' must be a whole number from 0 to 10000 (without quotes)"),
            ("concurrent: -1", "'concurrent' must be a whole number from 0 to 10000 (without quotes)"),
            ("concurrent: 5, ttl: 0.5s", "'ttl' must be a duration from 1s to 24h"),
            ("concurrent: 5, ttl: 25h", "'ttl' must be a duration from 1s to 24h"),
            ("unit: day, ttl: 5s", "'ttl' belongs to 'concurrent', or into 'reserve'"),
            ("unlimited: true, reserve: {}", "has no counter: remove reserve"),
            ("unit: day, charge: before, reserve: {}", "remove one of the two"),
            ("unit: day, requests_per_unit: 50, reserve: {amount: 26}", "must be from 1 to 25 with a limit of 50"),
            ("unit: day, requests_per_unit: 1000000, reserve: {amount: 99}", "must be from 100 to 500000"),
            ("unit: day, reserve: {amount: 0}", "'amount' must be auto, or a whole number from 1 to"),
            ("unit: day, reserve: {amount: most}", "'amount' must be auto, or a whole number from 1 to"),
            ("unit: day, reserve: {start: 0}", "'start' must be a whole number from 1 to"),
            ("unit: day, reserve: auto", "'reserve' must be a map: write reserve: {amount: 10}, or reserve: {} for"),
            ("unit: day, reserve: true", "'reserve' must be a map: write reserve: {amount: 10}, or reserve: {} for"),
            ("unit: day, reserve: 700", "'reserve' must be a map: write reserve: {amount: 700}, or reserve: {} for"),
            (
                "unit: day, requests_per_unit: 99, reserve: {amount: 10, start: 20}",
                "remove start, or write amount: auto",
            ),
            ("unit: day, requests_per_unit: 0, reserve: {amount: 10}", "a limit of 0 denies all"),
            ("concurrent: 0, queue: {}", "a limit of 0 denies all, so nothing can wait for it: remove queue"),
            ("unit: day, requests_per_unit: 0, queue: {}", "a limit of 0 denies all, so nothing can wait"),
            ("unlimited: true, queue: {}", "has no counter: remove queue"),
            ("unit: day, requests_per_unit: 5, queue: 20", "write queue: {length: 20}, or queue: {} for the defaults"),
            ("concurrent: 5, queue: {length: 0}", "'length' must be a whole number from 1 to 10000"),
            ("concurrent: 5, queue: {length: 10001}", "'length' must be a whole number from 1 to 10000"),
            ("concurrent: 5, queue: {timeout: 9ms}", "'timeout' must be a duration from 10ms to 1h"),
            ("concurrent: 5, queue: {timeout: 2h}", "'timeout' must be a duration from 10ms to 1h"),
            ("concurrent: 5, queue: {lenght: 5}", "unknown key 'lenght'; did you mean 'length'?"),
            ("concurrent: 5, queue: ", "'queue' is empty: write queue: {} for the defaults, or remove it"),
            ("concurrent: 5, timeout: 5s", "'timeout' is not allowed here: write it in 'queue'"),
            ("concurrent: ", "'concurrent' is empty: give it a value, or remove it"),
            ("unit: day, reserve: ", "'reserve' is empty: write reserve: {} for the defaults, or remove it"),
            ("unit: day, start: 5", "'start' is not allowed here: write it in 'reserve'"),
        )
    ],
    (HEAD + "- {key: ratelimitd.lease, rate_limit: {unit: day}}", "'key' must be another key: entries with"),
    *[
        (
            f"domain: d\nidentity: {{key: k, otherwise: o, {key}: ratelimitd.lease, tiers: {{}}}}\n",
            f"'{key}' of 'identity'",
        )
        for key in ("key", "otherwise")
    ],
    ("domain: d\ndefault_algorithm: magic\n", "'default_algorithm' must be one of fixed_window, "),
    ("domain: d\nrate_limits: []\n", "'rate_limits' is not allowed here: write it in a descriptor"),
]


@pytest.mark.parametrize(("text", "words"), OWN_ERRORS)
def test_a_wrong_use_of_an_extension_says_what_to_do(text, words):
    """Every invalid combination of our own keys is one error that says what to write instead."""
    (error,) = errors(text)
    assert any(part in error for part in words.split("|")), error


def test_a_ttl_without_a_unit_is_in_seconds():
    """As durations of settings are."""
    bare, said = (limits(f"- {{key: k, rate_limit: {{concurrent: 5, ttl: {ttl}}}}}\n") for ttl in ("300", "5m"))
    assert bare == said


LEVEL_OF_EMPTY = {
    TOP: "domain: d\n{key}:\n",
    "descriptors": HEAD + "- {{key: k, rate_limit: {{unit: day}}, {key}: }}\n",
    "rate_limit": HEAD + "- {{key: k, rate_limit: {{unit: day, {key}: }}}}\n",
    "rate_limits": HEAD + "- {{key: k, rate_limits: [{{unit: day, {key}: }}]}}\n",
    "queue": HEAD + "- {{key: k, rate_limit: {{concurrent: 5, queue: {{{key}: }}}}}}\n",
    "reserve": HEAD + "- {{key: k, rate_limit: {{unit: day, requests_per_unit: 99, reserve: {{{key}: }}}}}}\n",
}


@pytest.mark.parametrize(
    ("level", "key"), [(level, key) for level in LEVEL_OF_EMPTY for key in LEVELS[level] if key in OWN_KEYS]
)
def test_a_key_of_ours_without_a_value_is_an_error(level, key):
    """It would leave out what is meant; keys of envoyproxy/ratelimit without a value have their default, as there."""
    (error,) = errors(LEVEL_OF_EMPTY[level].format(key=key))
    assert f"'{key}' " in error
