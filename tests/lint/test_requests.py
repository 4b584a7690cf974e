"""What the lint thinks of requests is what the service does with them."""

import json
from itertools import count

from hypothesis import assume, example, given
from hypothesis import strategies as st

from ratelimitd.lint.requests import Requests
from ratelimitd.lint.tree import trees
from ratelimitd.policy import Descriptor, identify, match
from ratelimitd.policy.rows import assemble
from ratelimitd.policy_file import examine

KEYS = st.sampled_from(["a", "b", "a_b", "a*", "k", "o"])
TEXTS = st.sampled_from(["", "b", "bc", "b*", "*", "*c", "b*c", "gold"])
SENT_KEYS = st.sampled_from([b"a", b"b", b"a_b", b"ax", b"k", b"o"])
SENT_VALUES = st.sampled_from([b"", b"b", b"bc", b"bxc", b"x", b"gold", b"key"])
ENTRIES = st.lists(st.tuples(SENT_KEYS, SENT_VALUES), min_size=1, max_size=3)
DESCRIPTORS = st.recursive(
    st.just([]),
    lambda inner: st.lists(
        st.tuples(KEYS, TEXTS, inner), max_size=4, unique_by=lambda each: f"{each[0]}_{each[1]}" if each[1] else each[0]
    ),
    max_leaves=12,
)
IDENTITY = {"key": "k", "otherwise": "o", "tiers": {"gold": ["key"]}}


def policy(descriptors, **more):
    """A policy of these descriptors in which each has a limit of its own name."""
    names = count()

    def written(items):
        return [
            {
                "key": key,
                "value": value,
                "rate_limit": {"unit": "day", "requests_per_unit": 1, "name": str(next(names))},
                "descriptors": written(below),
            }
            for key, value, below in items
        ]

    text = json.dumps({"domain": "d", "descriptors": written(descriptors), **more})
    parsed = examine([("p.yaml", text.encode())])
    assert not parsed.errors
    return parsed


def spells_a_key(descriptors, entries):
    """Whether key and value of an entry are together a key of a descriptor: ``a`` and ``b`` that of ``a_b``."""
    keys = {key for key, value, _ in descriptors if not value}
    below = any(spells_a_key(inner, entries) for _, _, inner in descriptors)
    return below or any(f"{key.decode()}_{value.decode()}" in keys for key, value in entries)


@given(DESCRIPTORS, ENTRIES)
@example([("a_b", "*", []), ("a_b", "", [])], [(b"a_b", b"x")])
def test_no_request_reaches_what_a_wildcard_shadows(descriptors, entries):
    """Nor anything below it; but for an entry whose key and value are together its key, since upstream joins them."""
    assume(not spells_a_key(descriptors, entries))
    parsed = policy(descriptors)
    shadowed = {node.limits for node in trees(parsed)[b"d"].shadowed}
    found = match(assemble(parsed.rows).domains[b"d"], Descriptor(tuple(entries)))
    assert found is None or found.limits not in shadowed


@given(DESCRIPTORS, ENTRIES, st.lists(st.booleans(), min_size=3, max_size=3), st.booleans())
def test_a_request_ends_where_the_lint_says_that_it_may(descriptors, entries, known_values, identified):
    """With values that the lint knows or does not know, with an identity or without; a route sends one API key."""
    assume(not spells_a_key(descriptors, entries))
    assume([key for key, _ in entries].count(b"k") < 2)
    parsed = policy(descriptors, **({"identity": IDENTITY} if identified else {}))
    tree = trees(parsed)[b"d"]
    domain = assemble(parsed.rows).domains[b"d"]
    descriptor = Descriptor(tuple(entries))
    form = [(key, value if known else None) for (key, value), known in zip(entries, known_values)]
    if identified:
        descriptor = identify(domain.identity, b"", descriptor).descriptor
        forms = list(Requests(tree).identified(form))
    else:
        forms = [tuple(form)]
    found = match(domain, descriptor)
    ends = {node.limits for each in forms for node in Requests(tree).ends(each)}
    assert found is None or found.limits in ends
