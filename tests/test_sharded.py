"""A dict in parts."""

import pytest

from ratelimitd.policy import DescriptorNode
from ratelimitd.sharded import SMALL, ShardedDict, grown

MANY = 50_000
FAIR = MANY // 16
"""Entries of a part at most: sixteen times the share of each, since nodes lie in memory as it was free."""


def filled(keys):
    """A dict of these keys, each with itself as the value."""
    made = ShardedDict()
    for key in keys:
        made[key] = key
    return made


@pytest.mark.scenario("the event loop is blocked")
@pytest.mark.parametrize(
    "key", [lambda _: DescriptorNode(), lambda n: (("domain", f"key_{n}"), ""), lambda n: b"key_%d" % n]
)
def test_no_part_is_large(key):
    """The nodes of a policy, made one after the other, and names of any kind are spread over the parts."""
    made = filled(map(key, range(MANY)))
    assert len(made) == MANY
    assert max(made.sizes()) <= FAIR


def test_it_has_what_a_dict_has():
    """Keys are found, replaced and listed as in a dict of the same entries."""
    numbers = range(0, MANY, 500)
    made = filled(numbers)
    made[500] = -1
    same = dict(zip(numbers, numbers, strict=True)) | {500: -1}
    assert [made.get(0), made[500], made.get(501), 500 in made, 501 in made] == [0, -1, None, True, False]
    assert sorted(made) == sorted(same)
    assert sorted(made.items()) == sorted(same.items())
    assert sorted(made.values()) == sorted(same.values())
    with pytest.raises(KeyError, match="501"):
        made[501]


def test_entries_are_taken_until_it_is_empty():
    """``popitem`` removes each entry once, also those that came in between; an empty dict has none."""
    made = filled(range(0, MANY, 500))
    taken = [made.popitem()[0] for _ in range(60)]
    made[1] = 1
    while made:
        taken.append(made.popitem()[0])
    assert sorted(taken) == sorted([1, *range(0, MANY, 500)])
    with pytest.raises(KeyError, match="empty"):
        made.popitem()


def test_a_small_dict_stays():
    """A dict is left as it is, in its order, until it has ``SMALL`` entries; a sharded one always."""
    small = dict.fromkeys(range(SMALL - 1))
    assert grown(small) is small
    small[-1] = None
    large = grown(small)
    assert isinstance(large, ShardedDict)
    assert grown(large) is large
    assert dict(large.items()) == small
