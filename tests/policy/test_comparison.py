"""What differs between two policies, in words."""

from base64 import b64encode

import pytest

from ratelimitd.policy import ChangeKind, changes
from ratelimitd.policy.comparison import DESCRIPTOR, DOMAIN, IDENTITY, LIMIT
from ratelimitd.policy_file import parse


def policy(*texts):
    return parse([(f"{number}.yaml", text.encode()) for number, text in enumerate(texts)])


def differences(old, new):
    """The changes from one policy to another, as text."""
    return [str(change) for some in changes(policy(*old), policy(*new)) for change in some]


def tree(*descriptors, top=""):
    return f"domain: d\n{top}descriptors:\n" + "".join(f"- {each}\n" for each in descriptors)


def limit(text, more=""):
    return tree(f"{{key: k, rate_limit: {{{text}}}{more}}}")


BEFORE = "unit: minute, requests_per_unit: 60"

ANEW = "restarted d.k: name of its counter: as in envoyproxy/ratelimit -> safe, so its count starts anew"
ONE_LIMIT = [
    ("unit: minute, requests_per_unit: 6", "lowered d.k: 60 per minute -> 6 per minute"),
    ("unit: minute, requests_per_unit: 600", "raised d.k: 60 per minute -> 600 per minute"),
    ("unit: second, requests_per_unit: 2", "raised d.k: 60 per minute -> 2 per second"),
    ("unit: hour, requests_per_unit: 60", "lowered d.k: 60 per minute -> 60 per hour"),
    (
        "unit: second, requests_per_unit: 1",
        "changed d.k: 60 per minute -> 1 per second, the same rate over another window",
    ),
    ("unit: minute, requests_per_unit: 60, unit_multiplier: 2", "lowered d.k: 60 per minute -> 60 per 2 minutes"),
    ("unlimited: true", "raised d.k: 60 per minute -> unlimited|changed d.k: algorithm fixed_window -> none"),
    (f"{BEFORE}, algorithm: gcra", "changed d.k: algorithm fixed_window -> gcra"),
    (
        f"{BEFORE}, algorithm: gcra, burst: 90",
        "raised d.k: burst 60 -> 90|changed d.k: algorithm fixed_window -> gcra",
    ),
    (
        f"{BEFORE}, algorithm: gcra, burst: 9",
        "lowered d.k: burst 60 -> 9|changed d.k: algorithm fixed_window -> gcra",
    ),
    (
        f"{BEFORE}, count_rejected: false",
        f"changed d.k: count_rejected true -> false|{ANEW}",
    ),
    (f"{BEFORE}, charge: after", "changed d.k: charge none -> after"),
    (f"{BEFORE}, charge: before", "changed d.k: charge none -> before"),
    (
        f"{BEFORE}, reserve: {{}}",
        "changed d.k: charge none -> after|changed d.k: reserve none -> auto from 2000 for 300 s|"
        + ANEW.replace("safe", "with holds"),
    ),
    (
        "concurrent: 5",
        (
            "changed d.k: 60 per minute -> 5 at once|changed d.k: algorithm fixed_window -> none|"
            "changed d.k: ttl none -> 600 s"
        ),
    ),
    (f"{BEFORE}, queue: {{}}", "changed d.k: queue none -> 100 for 10 s"),
    (f"{BEFORE}, name: n", "changed d.k: name none -> n"),
    (f"{BEFORE}, replaces: [{{name: b}}, {{name: a}}]", "changed d.k: replaces none -> a, b"),
    (BEFORE, ""),
]


def test_a_limit_that_moves_to_another_line_or_file_is_the_same():
    """An editor that adds a comment changes no limit."""
    one, two = tree("{key: k, rate_limit: {unit: day}}"), "domain: e\n"
    assert differences([one, two], [two, f"# a comment\n\n{one}"]) == []


@pytest.mark.parametrize(("after", "words"), ONE_LIMIT)
def test_each_property_of_a_limit_has_words(after, words):
    """Raised and lowered go by the rate in the long run; each other property is a change of its own."""
    assert "|".join(differences([limit(BEFORE)], [limit(after)])) == words


def test_the_opposite_change_has_the_opposite_words():
    """A limit that is put back is told so."""
    assert differences([limit("unlimited: true")], [limit(BEFORE)]) == [
        "lowered d.k: unlimited -> 60 per minute",
        "changed d.k: algorithm none -> fixed_window",
    ]
    kinds = {ChangeKind.RAISED: ChangeKind.LOWERED, ChangeKind.LOWERED: ChangeKind.RAISED}
    for after, _ in ONE_LIMIT:
        there = [change for some in changes(policy(limit(BEFORE)), policy(limit(after))) for change in some]
        back = [change for some in changes(policy(limit(after)), policy(limit(BEFORE))) for change in some]
        assert [kinds.get(change.kind, change.kind) for change in there] == [change.kind for change in back]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("shadow_mode: true", "changed d.k: shadow_mode false -> true"),
        ("quota_mode: true", "changed d.k: quota_mode false -> true"),
        ("on_store_failure: deny", "changed d.k: on_store_failure error -> deny"),
        ("detailed_metric: true", "changed d.k: detailed_metric false -> true"),
        ("value_to_metric: true", "changed d.k: value_to_metric false -> true"),
        ("metadata: {team: a}", "changed d.k: metadata"),
    ],
)
def test_each_property_of_a_descriptor_has_words(more, words):
    """Its values of metadata are not shown, as they may be long."""
    assert differences([limit(BEFORE)], [limit(BEFORE, f", {more}")]) == [words]


def test_what_is_added_or_removed_has_its_properties():
    """A limit with its amount and algorithm, an exemption, and each limit below."""
    more = tree(
        "{key: k, rate_limit: {unit: minute, requests_per_unit: 60}}",
        "{key: b, value: gold, shadow_mode: true, "
        "rate_limit: {unit: second, requests_per_unit: 5, burst: 9, algorithm: gcra}}",
        "{key: free, value: all, rate_limit: {unlimited: true}}",
        "{key: none, value: x}",
        "{key: deep, descriptors: [{key: er, rate_limit: {unit: day, requests_per_unit: 1}, on_store_failure: deny}]}",
    )
    words = [
        "d.b_gold: 5 per second, burst 9, algorithm gcra, shadow_mode true",
        "d.free_all: unlimited",
        "d.none_x: descriptor without a limit",
        "d.deep.er: 1 per day, algorithm fixed_window, on_store_failure deny",
    ]
    assert differences([limit(BEFORE)], [more]) == [f"added {each}" for each in words]
    assert differences([more], [limit(BEFORE)]) == [f"removed {each}" for each in words]


def test_several_limits_of_a_descriptor_are_compared_by_name():
    """Or by position; the order of named ones means nothing."""
    old = tree("{key: k, rate_limits: [{name: a, unit: day, requests_per_unit: 1}, {name: b, unit: hour}]}")
    new = tree("{key: k, rate_limits: [{name: c, unit: hour}, {name: a, unit: day, requests_per_unit: 2}]}")
    assert differences([old], [new]) == [
        "added d.k [c]: 0 per hour, algorithm fixed_window",
        "raised d.k [a]: 1 per day -> 2 per day",
        "removed d.k [b]: 0 per hour, algorithm fixed_window",
    ]


def test_domains_are_compared_by_name():
    """With their options, and every limit in one that is added or removed."""
    shop = "domain: shop\ndescriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 1}}]\n"
    top = "default_algorithm: gcra\ndefault_charge: after\nall_or_nothing: true\n"
    assert differences([shop, "domain: d\n"], [tree(top=top)]) == [
        "changed d: default_algorithm fixed_window -> gcra",
        "changed d: default_charge none -> after",
        "changed d: all_or_nothing false -> true",
        "removed shop: domain",
        "removed shop.k: 1 per day, algorithm fixed_window",
    ]
    assert differences([], [shop])[0] == "added shop: domain"


def test_identities_are_compared_without_their_keys():
    """API keys are counted: neither a key nor its digest is shown."""

    def identity(text):
        return tree("{key: api_key, rate_limit: {unit: day}}", top=f"identity: {text}\n")

    old = identity("{key: api_key, tiers: {gold: [one, two], iron: [three]}}")
    new = identity("{key: api_key, otherwise: ip, ipv6_prefix: 56, tiers: {gold: [one, three], iron: [four, five]}}")
    assert differences([old], [new]) == [
        "changed d: otherwise of its identity remote_address -> ip",
        "changed d: ipv6_prefix of its identity 64 -> 56",
        "changed d: API keys of its identity: 2 added, 1 removed, 1 in another tier",
    ]
    assert differences([old], [tree("{key: api_key, rate_limit: {unit: day}}")]) == ["removed d: identity"]


def test_the_order_of_wildcards_is_compared():
    """The first that matches applies, so another order is another policy, at the top and below."""
    paths = ["{key: p, value: a*}", "{key: p, value: '*b'}", "{key: p, value: '*c*'}"]
    words = "order of its wildcards, of which the first that matches applies"
    assert differences([tree(*paths)], [tree(*paths[::-1])]) == [f"changed d: {words}"]
    assert differences([tree(*paths)], [tree(paths[0], paths[2])]) == ["removed d.p_*b: descriptor without a limit"]
    below = [tree(f"{{key: k, descriptors: [{', '.join(some)}]}}") for some in (paths, paths[::-1])]
    assert differences(below[:1], below[1:]) == [f"changed d.k: {words}"]


def test_words_are_one_line_of_bounded_length():
    """Escape sequences and newlines of a file reach no terminal, and a long value fills no log."""
    value = "!!binary " + b64encode(b"a\x1b[31m\n" + b"x" * 10_000).decode()
    (change,) = differences(
        ["domain: d\n"], [tree(f"{{key: k, value: {value}, rate_limit: {{unit: day, requests_per_unit: 1}}}}")]
    )
    assert change.isprintable()
    assert change.startswith(r"added d.k_a\x1b[31m\nxxx")
    assert len(change) < 300


def test_every_property_has_a_test():
    """A row of the tables without words above would be a promise that no test holds."""
    words = " ".join([*(words for _, words in ONE_LIMIT), "shadow_mode quota_mode on_store_failure detailed_metric"])
    named = {*LIMIT, *DESCRIPTOR, *DOMAIN, *IDENTITY}
    top = {"default_algorithm", "default_charge", "all_or_nothing"}
    elsewhere = {"value_to_metric", "share_threshold", *top, *IDENTITY}
    assert {name for name in named if name not in words} == elsewhere


def test_a_shared_threshold_has_words():
    """It is allowed for wildcards alone."""
    plain, shared = (tree(f"{{key: k, value: 'a*'{more}}}") for more in ("", ", share_threshold: true"))
    assert differences([plain], [shared]) == ["changed d.k_a*: share_threshold false -> true"]


@pytest.mark.scenario("the event loop is blocked")
def test_no_item_of_the_stream_takes_long():
    """With many descriptors and API keys the stream has an item for each, so that a caller can yield in between."""
    descriptors = [f"{{key: k, value: '{number}*', rate_limit: {{unit: day}}}}" for number in range(2_000)]
    keys = ", ".join(f"key{number}" for number in range(2_000))
    many = tree(*descriptors, top=f"identity: {{key: k, tiers: {{gold: [{keys}]}}}}\n")
    one, other, less = (
        policy(many),
        policy(many),
        policy(many.replace("- {key: k, value: '0*'", "- {key: r, value: '0*'")),
    )
    same = [len(some) for some in changes(one, other)]
    assert (len(same) > 8_000, sum(same)) == (True, 0)
    items = [len(some) for some in changes(one, less)]
    assert (len(items) > 10_000, sum(items)) == (True, 2)
