"""Which limits can share a counter under upstream's names: what is found, and that no other limit does."""

import random
import time

import pytest

from ratelimitd.algorithms import make_rate
from ratelimitd.limiter import key_maker
from ratelimitd.policy import (
    Descriptor,
    DescriptorNode,
    Domain,
    Limit,
    domains_that_share,
    match,
    pinned,
    shared_counters,
)
from ratelimitd.policy_file import parse

LIMIT = "rate_limit: {unit: hour, requests_per_unit: 5}"
OTHER = "rate_limit: {unit: hour, requests_per_unit: 5, algorithm: gcra}"
NAME = key_maker(b"", safe=False)


def leaf(key, value="", limit=LIMIT, more=""):
    return f"- {{key: {key}, value: '{value}', {limit}{more}}}"


def node(key, value, *below, limit="", more=""):
    shown = ", ".join(each.removeprefix("- ") for each in below)
    limited = f"{limit}, " if limit else ""
    return f"- {{key: {key}, value: '{value}', {limited}descriptors: [{shown}]{more}}}"


SHARE = ", share_threshold: true"

FOUND = {
    "two values that a caller chooses": ([node("a", "", leaf("b"))], {"a.b"}),
    "two levels of a wildcard": ([node("p", "/x*", leaf("m"))], {"p_/x*.m"}),
    "a key, and below one of its values another": ([leaf("a"), node("a", "x", leaf("b"))], {"a", "a_x.b"}),
    "a key, and a fixed entry below it": ([node("a", "", leaf("b", "c"), limit=LIMIT)], {"a", "a.b_c"}),
    "a key, and a fixed path of its values": ([leaf("a"), node("a", "x", leaf("b", "y"))], {"a", "a_x.b_y"}),
    "a key that begins with another": ([leaf("user"), leaf("user_agent")], {"user", "user_agent"}),
    "fixed values that contain the next level": (
        [leaf("a", "b_c_d"), node("a", "b", leaf("c", "d"))],
        {"a_b_c_d", "a_b.c_d"},
    ),
    "a longer fixed end": ([node("a", "", leaf("b", "c"), node("e", "f", leaf("b", "c")))], {"a.b_c", "a.e_f.b_c"}),
    "a wildcard whose head contains the next level": (
        [node("a", "x_b_*", leaf("c", "d")), node("a", "", node("b", "", leaf("c", "d")))],
        {"a_x_b_*.c_d", "a.b.c_d"},
    ),
}

NOT_FOUND = {
    "one key": [leaf("a")],
    "values beside their default": [leaf("a"), leaf("a", "x"), leaf("a", "y_b_z")],
    "a wildcard beside its default": [leaf("a", "x*"), leaf("a")],
    "wildcards beside each other": [leaf("a", "x*"), leaf("a", "*y"), leaf("a", "*z*")],
    "fixed entries below a key": [node("ip", "", leaf("p", "/a"), leaf("p", "/b"))],
    "a key below fixed entries": [node("a", "x", leaf("b")), node("a", "y", leaf("b"))],
    "the same entries below a wildcard and its default": [
        node("a", "x*", leaf("b", "c")),
        node("a", "", leaf("b", "c")),
    ],
    "entries below a wildcard that takes the values of the default": [node("a", "x*", leaf("b", "c")), leaf("a")],
    "a wildcard with one counter": [node("p", "/x*", leaf("m"), more=SHARE), leaf("p")],
    "another algorithm": [node("a", "", leaf("b", limit=OTHER))],
    "no limit": [node("a", "", leaf("b", limit="rate_limit: {unlimited: true}"))],
    "several limits": [node("a", "", leaf("b", limit="rate_limits: [{unit: hour, requests_per_unit: 5}]"))],
}


def policy(lines, head="domain: d"):
    return parse([("p.yaml", "\n".join([head, "descriptors:", *lines]).encode())])


def named(domain, found):
    """Paths of descriptors."""
    paths, pending = {}, [(domain.root, "")]
    while pending:
        above, path = pending.pop()
        for child in above.children.values():
            paths[child] = f"{path}.{child.final_key.decode()}".lstrip(".")
            pending.append((child, paths[child]))
    return {paths[each] for each in found}


def shared(lines, head="domain: d"):
    domain = policy(lines, head).domains[b"d"]
    return named(domain, shared_counters(domain))


@pytest.mark.scenario("a caller that chooses the name of a counter")
@pytest.mark.parametrize(("lines", "found"), FOUND.values(), ids=FOUND.keys())
def test_a_limit_that_can_share_a_counter_is_found(lines, found):
    """With its partner, and without limits that stand beside them."""
    assert shared([*lines, leaf("zone"), leaf("tier", "gold")]) == found


@pytest.mark.parametrize("lines", NOT_FOUND.values(), ids=NOT_FOUND.keys())
def test_a_limit_that_cannot_is_not_found(lines):
    """Its name is that of one request."""
    assert shared(lines) == set()


def test_a_digest_is_no_value_that_a_caller_chooses():
    """API keys are counted by a digest; the addresses of other callers are text."""
    head = "domain: d\nidentity: {key: api_key, tiers: {gold: [a]}}"
    lines = [
        node("api_key", "gold", leaf("path")),
        node("api_key", "", leaf("path")),
        node("remote_address", "", leaf("path")),
    ]
    assert shared(lines, head) == {"remote_address.path"}


def test_a_name_that_takes_too_long_to_read_is_taken_as_shared():
    """What is not decided is not safe."""
    ways = [node("a", "b", leaf("c", "d", more="")), leaf("x", "_".join("ab" * 2_000)), leaf("x")]
    assert shared(ways) == {"x_" + "_".join("ab" * 2_000)}
    assert shared([*ways[:1], leaf("x", "short_of_it"), leaf("x")]) == set()


DOMAINS = {
    "a key that begins with the rest": ("x", [leaf("y_z")], "x_y", [leaf("z")], True),
    "a fixed entry that begins with the rest": ("x", [leaf("y_z", "v")], "x_y", [leaf("z", "v")], True),
    "a wildcard that may begin with it": ("x", [leaf("y*")], "x_yes", [leaf("z")], True),
    "no key that begins with the rest": ("x", [leaf("k")], "x_y", [leaf("z")], False),
    "a name that only begins alike": ("x", [leaf("y_z")], "xy", [leaf("z")], False),
    "no counter of upstream's": ("x", [leaf("y_z")], "x_y", [leaf("z", limit=OTHER)], False),
    "no other counter of upstream's": ("x", [leaf("y_z", limit=OTHER)], "x_y", [leaf("z")], False),
}


@pytest.mark.parametrize(("one", "first", "other", "second", "found"), DOMAINS.values(), ids=DOMAINS.keys())
def test_domains_that_run_into_keys_are_found(one, first, other, second, found):
    """As a pair; which limits they are is not decided."""
    domains = policy(first, f"domain: {one}").domains | policy(second, f"domain: {other}").domains
    assert list(domains_that_share(domains)) == ([(one.encode(), other.encode())] if found else [])


@pytest.mark.alone
def test_many_domains_beside_a_large_one_are_compared_at_little_cost():
    """A hundred times as many take no ten times as long: the limits of the large one are read once."""
    large = policy([leaf("k", f"v{number}") for number in range(3_000)], "domain: x").domains
    small = policy([leaf("z")], "domain: y").domains[b"y"]

    def seconds(count):
        domains = large | {b"x_%d" % number: small for number in range(count)}
        began = time.process_time()
        assert list(domains_that_share(domains)) == []
        return time.process_time() - began

    assert min(seconds(300) for _ in range(3)) < 10 * min(seconds(3) for _ in range(3))


KEYS = (b"a", b"b", b"a_b")
VALUES = (b"", b"", b"x", b"x_b_x", b"b_x", b"x*", b"x_*", b"*", b"*x", b"x_b_x*")
SENT = (b"", b"x", b"y", b"x_b_x", b"x_b_y", b"b_x", b"b_x_b_x", b"x_b_x_b_x", b"x_a_x", b"x_b_x_a_x", b"y_a_b_x")
PLAIN = Limit(make_rate("fixed_window", 5, 3_600_000_000), 5)


def grown(turn, depth):
    """A random tree."""
    root = DescriptorNode()
    for _ in range(turn.choice((1, 2, 3))):
        key, value = turn.choice(KEYS), turn.choice(VALUES)
        child = grown(turn, depth - 1) if depth > 1 and turn.random() < 0.6 else DescriptorNode()
        child.key, child.value = key, value
        child.limits = (PLAIN,) if not child.children or turn.random() < 0.5 else ()
        child.share_threshold = b"*" in value and turn.random() < 0.3
        if child.final_key not in root.children:
            root.add_child(child)
    return root


def requests(root):
    """Entries with keys that the tree writes at each level, for as deep as it goes."""
    pending = [(root, ())]
    while pending:
        at, entries = pending.pop()
        if entries:
            yield entries
        for key in dict.fromkeys(child.key for child in at.children.values()):
            for value in SENT:
                text = key + b"_" + value
                child = at.children.get(text) or (at.wildcards and at.wildcards.find(text)) or at.children.get(key)
                if child is not None:
                    pending.append((child, (*entries, (key, value))))


@pytest.mark.parametrize("seed", range(60))
def test_no_two_requests_share_a_counter_unless_both_their_limits_are_found(seed):
    """The names of many requests, by the matching and the keys of a service."""
    domain = Domain(b"d", grown(random.Random(seed), 2), "fixed_window", all_or_nothing=False)
    found = named(domain, shared_counters(domain))
    names: dict[bytes, dict[object, str]] = {}
    for entries in requests(domain.root):
        matched = match(domain, Descriptor(entries))
        if matched is not None:
            path = ".".join(_final_keys(matched.path))
            identity = pinned(matched.pins, entries)
            counted = path, tuple(b"%b_%b" % entry for entry in identity)
            names.setdefault(NAME(b"d", PLAIN).key(identity), {})[counted] = path
    sharing = {path for counters in names.values() if len(counters) > 1 for path in counters.values()}
    assert sharing <= found


def _final_keys(path):
    while path:
        length, _, path = path.partition(b":")
        yield path[: int(length)].decode()
        path = path[int(length) :]
