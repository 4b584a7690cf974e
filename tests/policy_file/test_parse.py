"""Policy files: what they mean, and every error with its place and text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimitd.policy import Limit, OnStoreFailure, PolicyErrors, Unit, assemble, match
from ratelimitd.policy.model import Descriptor
from ratelimitd.policy_file import examine, parse
from ratelimitd.policy_file.fields import LEVELS, OWN_KEYS, TOP, UPSTREAM_KEYS
from testkit.examples import examples

HEAD = "domain: test-domain\ndescriptors:\n"


def errors(*texts, merge_domains=False):
    files = [(f"config.{number}.yaml", text.encode()) for number, text in enumerate(texts)]
    with pytest.raises(PolicyErrors) as caught:
        parse(files, merge_domains=merge_domains)
    return str(caught.value).splitlines()


def domain(*texts, merge_domains=False, default_algorithm="fixed_window"):
    files = [(f"{number}.yaml", text.encode()) for number, text in enumerate(texts)]
    policy = parse(files, merge_domains=merge_domains, default_algorithm=default_algorithm)
    return next(iter(policy.domains.values()))


def limits(descriptor, head=HEAD, *, default_algorithm="fixed_window"):
    tree = domain(head + descriptor, default_algorithm=default_algorithm)
    return next(iter(tree.root.children.values())).limits


UPSTREAM_ERRORS = [
    ("domain: d\n0.25: x\n", "config error, key is not of type string: 0.25", 2),
    ("domain: d\nyes: x\n", "config error, key is not of type string: true", 2),
    ("domain: d\n~: x\n", "config error, key is not of type string: <nil>", 2),
    (HEAD + "- key: k\n  ratelimit: {}\n", "config error, unknown key 'ratelimit'", 4),
    (HEAD + "- a\n", "config error, yaml file contains list of type other than map: a", 3),
    (HEAD + "-\n", "config error, yaml file contains list of type other than map: <nil>", 3),
    (HEAD + "- key: k\n  value: 1.5\n", "error checking config", 4),
    (HEAD + "- key: k\n  unit:\n    name: 1.5\n", "error checking config", 5),
    (
        HEAD + "- key: k\n  unit:\n  - {name: [x]}\n",
        "config error, yaml file contains list of type other than map: x",
        5,
    ),
    ("descriptors:\n", "config file cannot have empty domain", 1),
    ("domain: ''\n", "config file cannot have empty domain", 1),
    ("", "config file cannot have empty domain", 1),
    (HEAD + "- value: v\n", "descriptor has empty key", 3),
    (
        HEAD + "- {key: key1, value: value1}\n- {key: key1, value: value1}\n",
        "duplicate descriptor composite key 'test-domain.key1_value1'",
        4,
    ),
    (
        HEAD + "- {key: a, value: b_c}\n- {key: a_b, value: c}\n",
        "duplicate descriptor composite key 'test-domain.a_b_c'",
        4,
    ),
    (
        HEAD + "- key: p\n  value: q\n  descriptors:\n  - key: x\n  - key: x\n",
        "duplicate descriptor composite key 'test-domain.p_q.x'",
        7,
    ),
    (HEAD + "- key: k\n  rate_limit: {unit: foo}\n", "invalid rate limit unit 'foo'", 4),
    (HEAD + "- key: k\n  rate_limit: {unit: unknown}\n", "invalid rate limit unit 'unknown'", 4),
    (HEAD + "- key: k\n  rate_limit: {requests_per_unit: 5}\n", "invalid rate limit unit ''", 4),
    (
        HEAD + "- key: k\n  rate_limit: {unlimited: true, unit: day}\n",
        "should not specify rate limit unit when unlimited",
        4,
    ),
    (
        HEAD + "- key: k\n  rate_limit:\n    unit: day\n    replaces:\n    - name: ''\n",
        "should not have an empty replaces entry",
        7,
    ),
    (
        HEAD + "- key: k\n  rate_limit:\n    unit: day\n    name: n\n    replaces: [{name: n}]\n",
        "replaces should not contain name of same descriptor",
        7,
    ),
    (
        HEAD + "- {key: files, value: files, share_threshold: true}\n",
        "share_threshold can only be used with wildcard values (containing '*'), but found key 'files_files'",
        3,
    ),
    (HEAD + "- key: k\n  metadata:\n    a: .inf\n", "error parsing metadata: .inf cannot be represented in JSON", 5),
    (HEAD + "- key: k\n  metadata:\n    ? [a]\n    : 1\n", "error parsing metadata: a key must be text", 5),
    ("domain: [\n", "error loading config file: not valid YAML", 2),
    ("- a\n", "error loading config file: the file must be a map", 1),
    (HEAD + "- key: {a: b}\n", "config error, unknown key 'a'", 3),
    (HEAD + "- key: {key: b}\n", "error loading config file: 'key' must be text, not a map", 3),
    (HEAD + "- key: k\n  shadow_mode: 'true'\n", "error loading config file: 'shadow_mode' must be true or false", 4),
    *(
        (
            HEAD + f"- key: k\n  rate_limit:\n    unit: day\n    requests_per_unit: {number}\n",
            "error loading config file: 'requests_per_unit' must be a whole number from 0 to 4294967295",
            6,
        )
        for number in ("-1", "4294967296", "'10'", "true", "ten")
    ),
]


@pytest.mark.parametrize(("text", "message", "line"), UPSTREAM_ERRORS)
def test_an_error_has_the_text_of_upstream_and_a_line(text, message, line):
    """One mistake is one error, in the words that operators of envoyproxy/ratelimit know."""
    (error,) = errors(text)
    assert error.startswith(f"config.0.yaml: {message}")
    assert error.endswith(f" (line {line})")


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
    "reserve": HEAD + "- {{key: k, rate_limit: {{unit: day, requests_per_unit: 99, reserve: {{{key}: }}}}}}\n",
}


@pytest.mark.parametrize(
    ("level", "key"), [(level, key) for level in LEVEL_OF_EMPTY for key in LEVELS[level] if key in OWN_KEYS]
)
def test_a_key_of_ours_without_a_value_is_an_error(level, key):
    """It would leave out what is meant; keys of envoyproxy/ratelimit without a value have their default, as there."""
    (error,) = errors(LEVEL_OF_EMPTY[level].format(key=key))
    assert f"'{key}' " in error


@pytest.mark.scenario("an invalid policy, at startup or on reload")
def test_every_error_of_every_file_is_reported():
    """Errors come by file and line, so that a file is mended in one go."""
    first = HEAD + "- {key: a, rate_limit: {unit: foo}}\n- {value: b}\n- {key: c, colour: red}\n"
    assert [line.partition(": ")[0] + line[-9:] for line in errors(first, "domain: [", "domain: ''\n")] == [
        "config.0.yaml (line 3)",
        "config.0.yaml (line 4)",
        "config.0.yaml (line 5)",
        "config.1.yaml (line 1)",
        "config.2.yaml (line 1)",
    ]


def test_a_domain_stands_in_one_file():
    """The second file of a domain is the one that is wrong."""
    assert errors("domain: d\n", "domain: e\n", "domain: d\n") == [
        "config.2.yaml: duplicate domain 'd' in config file (line 1)"
    ]


def test_merged_files_make_one_tree():
    """With MERGE_DOMAIN_CONFIG, descriptors of later files come after those of earlier ones."""
    tree = domain(HEAD + "- key: a\n", HEAD + "- key: b\n", merge_domains=True)
    assert list(tree.root.children) == [b"a", b"b"]


def test_merged_files_may_not_repeat_a_descriptor():
    """There is no deep merge."""
    text = HEAD + "- key: a\n"
    assert errors(text, text, merge_domains=True) == [
        "config.1.yaml: duplicate descriptor composite key 'test-domain.a' (line 3)"
    ]


def test_what_one_merged_file_says_of_the_domain_holds_for_all():
    """Whichever file says it."""
    tree = domain(
        HEAD + "- {key: a, rate_limit: {unit: day}}\n", "default_algorithm: gcra\n" + HEAD, merge_domains=True
    )
    rate = tree.root.children[b"a"].limits[0].rate
    assert rate is not None
    assert (tree.default_algorithm, rate.algorithm) == ("gcra", "gcra")


def test_merged_files_may_not_contradict_each_other():
    """Two files that say different things of one domain are an error in the second."""
    (error,) = errors("all_or_nothing: true\ndomain: d\n", "all_or_nothing: false\ndomain: d\n", merge_domains=True)
    assert error.startswith("config.1.yaml: 'all_or_nothing' differs from the one in config.0.yaml")


ACCEPTED = {
    "no descriptors": "domain: d\ndescriptors:\n",
    "a limit of nothing": HEAD + "- {key: k, rate_limit: {unit: second}}\n",
    "a legal key at the wrong level": HEAD + "- {key: k, rate_limit: {unit: day, shadow_mode: true, domain: x}}\n",
    "unlimited with no real unit": HEAD + "- {key: k, rate_limit: {unlimited: true, unit: foo}}\n",
    "flags without a limit": HEAD + "- {key: k, value_to_metric: true, detailed_metric: true, shadow_mode: true}\n",
    "replaces of nobody": HEAD + "- {key: k, rate_limit: {unit: day, replaces: [{name: nobody}]}}\n",
    "metadata of a limit": HEAD + "- {key: k, rate_limit: {unit: day, metadata: {burst: 1}}}\n",
    "anything below metadata": HEAD + "- {key: k, metadata: {any: [1.5, {thing: 2}], 7: x}}\n",
    "nulls": HEAD + "- {key: k, value: ~, rate_limit: ~, metadata: ~, descriptors: ~, shadow_mode: ~}\n",
    "two equal map keys": "domain: x\n" + HEAD,
    "a second document": HEAD + "---\n[\n",
}


@pytest.mark.parametrize("text", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_what_upstream_accepts_is_accepted(text):
    """A file that works there works here."""
    assert domain(text).name in {b"d", b"test-domain"}


def test_every_legal_key_means_something_at_some_level():
    """The tables of the parser are all there is: a key that only passed would be a promise without a meaning."""
    assert {key for keys in LEVELS.values() for key in keys} == UPSTREAM_KEYS | OWN_KEYS.keys()


def test_a_key_of_upstream_at_the_wrong_level_means_nothing():
    """shadow_mode inside rate_limit is legal and ignored."""
    assert not limits("- {key: k, rate_limit: {unit: day, shadow_mode: true}}")[0].shadow_mode


@pytest.mark.parametrize("value", ["010", "yes", "12:30", "123", "2001-01-01", "on", "0x1F"])
def test_values_are_taken_as_written(value):
    """A value is text whatever else it looks like."""
    assert list(domain(HEAD + f"- {{key: k, value: {value}}}").root.children) == [f"k_{value}".encode()]


def test_numbers_are_read_as_upstream_reads_them():
    """010 requests are eight, and 1_000 a thousand."""
    read = [limits(f"- {{key: k, rate_limit: {{unit: DAY, requests_per_unit: {n}}}}}")[0] for n in ("010", "1_000")]
    assert [limit.requests_per_unit for limit in read] == [8, 1000]


def test_every_unit_has_its_window():
    """A month is 30 days and a year 365, as upstream counts."""
    units = ["second", "minute", "hour", "day", "week", "month", "year"]
    read = [limits(f"- {{key: k, rate_limit: {{unit: {unit}}}}}")[0] for unit in units]
    windows = [limit.rate.window // 1_000_000 for limit in read if limit.rate is not None]
    assert windows == [1, 60, 3600, 86400, 604800, 2592000, 31536000]
    assert [limit.unit.name.lower() for limit in read] == units


def test_a_limit_has_all_that_is_said_of_it():
    """Each key of a limit arrives, those of the descriptor around it too."""
    (limit,) = limits(
        "- {key: k, shadow_mode: true, quota_mode: yes, on_store_failure: deny, rate_limit: {unit: hour, name: n,"
        " unit_multiplier: 6, requests_per_unit: 50, burst: 100, algorithm: token_bucket, replaces: [{name: m}]}}"
    )
    assert limit.rate is not None
    assert limit.rate[:5] == ("token_bucket", 50, 21_600_000_000, 100, True)
    assert limit == Limit(
        rate=limit.rate,
        requests_per_unit=50,
        unit=Unit.HOUR,
        unit_multiplier=6,
        name="n",
        replaces=frozenset({"m"}),
        shadow_mode=True,
        quota_mode=True,
        on_store_failure=OnStoreFailure.DENY,
        item="",
        upstream=False,
    )


def test_an_unlimited_limit_has_no_rate():
    """It may still replace others."""
    (limit,) = limits("- {key: k, rate_limit: {unlimited: true, requests_per_unit: 5, replaces: [{name: m}]}}")
    assert (limit.rate, limit.requests_per_unit, limit.replaces) == (None, 0, {"m"})


def test_several_limits_are_told_apart_by_name_or_index():
    """The order of the file stays; an item may say more, or something else, than its descriptor."""
    read = limits(
        "- {key: k, shadow_mode: true, on_store_failure: allow, rate_limits: [{unit: second}, "
        "{unit: day, name: daily, shadow_mode: false, quota_mode: true, on_store_failure: local}]}"
    )
    told = [(limit.item, limit.name, limit.shadow_mode, limit.quota_mode, limit.on_store_failure) for limit in read]
    assert told == [
        ("0", "", True, False, OnStoreFailure.ALLOW),
        ("daily", "daily", False, True, OnStoreFailure.LOCAL),
    ]


@pytest.mark.parametrize(
    ("descriptor", "upstream"),
    [
        ("- {key: k, rate_limit: {unit: day}}", True),
        (
            "- {key: k, rate_limit: {unit: day, algorithm: fixed_window, unit_multiplier: 1, count_rejected: true}}",
            True,
        ),
        ("- {key: k, rate_limit: {unit: day, unit_multiplier: 2}}", False),
        ("- {key: k, rate_limit: {unit: day, count_rejected: false}}", False),
        ("- {key: k, rate_limit: {unit: day, algorithm: gcra}}", False),
        ("- {key: k, rate_limits: [{unit: day}]}", False),
    ],
)
def test_only_what_upstream_can_express_shares_its_counters(descriptor, upstream):
    """Anything it cannot say would meet a counter that means something else."""
    assert limits(descriptor)[0].upstream is upstream


def test_the_nearest_algorithm_named_is_used():
    """A limit's own, else its domain's, else the default."""
    plain, named = "- {key: k, rate_limit: {unit: day}}", "- {key: k, rate_limit: {unit: day, algorithm: gcra}}"
    top = "default_algorithm: sliding_window\n" + HEAD
    read = [
        limits(plain, default_algorithm="leaky_bucket"),
        limits(plain, top, default_algorithm="leaky_bucket"),
        limits(named, top, default_algorithm="leaky_bucket"),
    ]
    assert [limit.rate.algorithm for (limit,) in read if limit.rate] == ["leaky_bucket", "sliding_window", "gcra"]


def test_equal_limits_are_one_object():
    """100,000 rules of some tiers take the memory of the tiers."""
    text = HEAD + "".join(f"- {{key: k{n}, rate_limit: {{unit: day, requests_per_unit: 5}}}}\n" for n in range(1000))
    children = domain(text).root.children.values()
    assert len({id(node.limits) for node in children}) == 1


def test_metadata_becomes_plain_values():
    """What google.protobuf.Struct holds; the text of a key is its text."""
    text = HEAD + "- {key: k, metadata: {s: x, n: 010, f: 1.5, b: yes, z: ~, l: [1, {a: b}], 7: '7'}}"
    assert domain(text).root.children[b"k"].metadata == {
        "s": "x",
        "n": 8,
        "f": 1.5,
        "b": True,
        "z": None,
        "l": [1, {"a": "b"}],
        "7": "7",
    }


def test_a_summary_counts_what_there_is():
    """Domains, descriptors, and limits of all of them."""
    text = HEAD + "- {key: k, rate_limits: [{unit: day}, {unit: hour}], descriptors: [{key: x}]}"
    assert examine([("p.yaml", text.encode()), ("q.yaml", b"domain: q")]).summary == (2, 2, 2)


NAMES = st.sampled_from(sorted({*UPSTREAM_KEYS, *OWN_KEYS}))
LEAVES = st.sampled_from(
    ["x", "y*", "5", "0", "-1", "1.5", "yes", "~", "day", "second", "gcra", "fixed_window", "local", "99999999999"]
)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.dictionaries(NAMES, inner, max_size=5).map(
            lambda d: "{" + ", ".join(f"{k}: {v}" for k, v in d.items()) + "}"
        )
        | st.lists(inner, max_size=3).map(lambda items: "[" + ", ".join(items) + "]")
    ),
    max_leaves=25,
)


@pytest.mark.scenario("an invalid policy, at startup or on reload")
@settings(max_examples=examples(3))
@given(st.binary(max_size=200) | TREES.map(str.encode) | TREES.map(lambda tree: f"{HEAD}- {tree}\n".encode()))
def test_any_file_is_a_policy_or_errors_with_lines(content):
    """No exception but PolicyErrors is raised, and each error has its line."""
    parsed = examine([("p.yaml", content)])
    assert all(error.line >= 1 for error in parsed.errors)
    if not parsed.errors:
        (tree,) = assemble(parsed.rows).domains.values()
        for final_key in tree.root.children:
            match(tree, Descriptor(((final_key, b""),)))
