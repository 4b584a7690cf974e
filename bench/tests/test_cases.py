"""The rows of the tables: each sends and loads what its name says."""

import re

import pytest

from bench.builds import GRPCIO, INTERPRETED, SHIPPED, Build
from bench.cases import STORES, Case, Scale, further_rows, main_rows
from bench.policy import KINDS, TOKENS, user
from bench.rls import measured_in
from ratelimitd.policy_file import parse
from ratelimitd.proto import message

MANY = 50
ROWS = [*main_rows(MANY), *further_rows(MANY)]


def sent(case):
    """Return the requests of a case, parsed."""
    read = message("envoy.service.ratelimit.v3.RateLimitRequest")
    return [read.FromString(frame[5:]) for frame in case.requests()]


def values(request):
    return tuple(tuple((entry.key, entry.value) for entry in each.entries) for each in request.descriptors)


@pytest.mark.parametrize("case", ROWS, ids=lambda case: case.name)
def test_a_name_says_what_a_row_measures(case):
    """Store, number of descriptors, keys and rules are those of the requests and of the policy."""
    store, _, words = case.name.partition(", ")
    requests = sent(case)
    keys = re.search(r"([\d,]+) keys", words)
    descriptors = re.search(r"(\d+) descriptors", words)
    rules = re.search(r"([\d,]+) rules", words)

    assert store == STORES[case.store]
    assert len({values(each) for each in requests}) == (int(keys[1].replace(",", "")) if keys else 1)
    assert ("one hot key" in words) is (keys is None)
    assert {len(each.descriptors) for each in requests} == {int(descriptors[1]) if descriptors else 1}
    assert case.rules == (int(rules[1].replace(",", "")) if rules else 1)
    assert case.tls is ("TLS" in words)
    assert case.kind in words
    assert case.algorithm in words


@pytest.mark.parametrize("case", ROWS, ids=lambda case: case.name)
def test_the_policy_of_a_row_is_valid_and_of_its_domain(case):
    """It has a rule for each descriptor and for each user that the name promises one."""
    parsed = parse([("p.yaml", case.policy().encode())])
    assert {each.domain.encode() for each in sent(case)} == set(parsed.domains)
    if not case.kind:
        many = case.rules if case.rules > 1 else 0
        assert sum(len(node.limits) for node in parsed.nodes) == many + case.descriptors


def test_a_kind_is_in_its_policy():
    """Each further policy has the key that its name is about."""
    texts = {name: kind.policy(2) for name, kind in KINDS.items()}
    words = r"rate_limits|value: u\*|identity|shadow_mode|quota_mode|charge: after|reserve"
    assert {name: re.findall(words, text) for name, text in texts.items()} == {
        "3 limits on one descriptor": ["rate_limits"],
        "wildcard": ["value: u*"],
        "identity tier": ["identity"],
        "shadow": ["shadow_mode"],
        "quota": ["quota_mode"],
        "question": ["charge: after"],
        "settlement": ["charge: after"],
        "question that holds": ["reserve"],
    }  # fmt: skip
    assert texts["identity tier"].count(user(1)) == 1


def test_a_question_and_a_settlement_have_hits_of_their_own():
    """An explicit 0, and tokens; no other row has any."""
    found = {}
    for case in ROWS:
        each = sent(case)[0].descriptors[0]
        if each.HasField("hits_addend"):
            found[case.kind] = each.hits_addend.value
    assert found == {"question": 0, "settlement": TOKENS, "question that holds": 0}


def test_the_main_rows_are_what_users_have():
    """At full scale each size of request is measured with 100,000 keys in both stores, and one hot key is called so."""
    names = [case.name for case in main_rows(Scale().many)]
    for store in ("memory", "Redis"):
        assert names[:1] == ["memory, 100,000 keys"]
        for row in ("100,000 keys", "3 descriptors, 100,000 keys", "8 descriptors, 100,000 keys", "one hot key"):
            assert f"{store}, {row}" in names
    assert {"Redis cluster of 3, 100,000 keys", "memory, 100,000 rules, 100,000 keys"} < set(names)


def test_interpreted_stands_beside_compiled_in_every_main_row():
    """Only grpcio is left out of some."""
    for case in main_rows(MANY):
        assert measured_in(Build(SHIPPED, "nghttp2"), case)
        assert measured_in(Build(INTERPRETED, "nghttp2"), case)
    grpcio = [case.name for case in main_rows(MANY) if measured_in(Build(GRPCIO, "grpcio"), case)]
    assert grpcio == ["memory, one hot key", "Redis, one hot key"]


def test_peers_are_measured_where_their_policy_and_store_allow():
    """Rows with ours alone: many rules, TLS, an algorithm of ours, a further policy."""
    assert Case("memory", keys=9).peers
    for changed in ({"rules": 9}, {"tls": True}, {"algorithm": "gcra"}, {"kind": "quota"}):
        assert not Case("memory", **changed).peers
