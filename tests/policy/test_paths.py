from hypothesis import given
from hypothesis import strategies as st

from ratelimitd.policy.paths import OVERRIDE, names_of, path_of, rule_name


@given(st.lists(st.binary(max_size=12)))
def test_a_path_gives_its_names_back(names):
    """Whatever bytes they are, digits and colons too; that of an override as well."""
    assert list(names_of(path_of(names))) == names
    assert list(names_of(OVERRIDE + path_of(names))) == names


def test_a_rule_is_named_as_its_metrics_are():
    """Domain and names, joined by dots, escaped as in statsd."""
    assert rule_name(b"d:1", path_of([b"a_10.0.0.1", b"b|c"])) == "d_1.a_10_0_0_1.b_c"
