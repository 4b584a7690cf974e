"""An overlay says of a limit what the policy could have written, or leaves it: for all of its keys, by hypothesis."""

from hypothesis import assume, given
from hypothesis import strategies as st

from ratelimitd.algorithms import ALGORITHMS
from ratelimitd.policy import PolicyErrors
from ratelimitd.policy_file import examine, read_overlay

LIMITS = st.sampled_from(
    [
        "unit: hour, requests_per_unit: 10",
        "unit: month, requests_per_unit: 4294967295",
        "unit: second, requests_per_unit: 0",
        "unit: day, requests_per_unit: 10, count_rejected: false",
        "unlimited: true",
        "concurrent: 5",
    ]
)
SAID = st.fixed_dictionaries(
    {},
    optional={
        "algorithm": st.sampled_from(list(ALGORITHMS)),
        "burst": st.sampled_from(["0", "5", "30", "4294967295"]),
        "charge": st.sampled_from(["before", "after"]),
        "reserve": st.sampled_from(["{}", "{amount: 3}", "{amount: 9}", "{start: 4, ttl: 1m}"]),
        "queue": st.sampled_from(["{}", "{length: 3}", "{timeout: 4s}"]),
        "on_store_failure": st.sampled_from(["error", "allow", "deny", "local"]),
    },
)
ORDER = ("algorithm", "burst", "charge", "reserve", "queue", "on_store_failure")


def policy(limit, said):
    of_limit = [limit, *(f"{key}: {value}" for key, value in said.items() if key != "on_store_failure")]
    of_descriptor = f", on_store_failure: {said['on_store_failure']}" if "on_store_failure" in said else ""
    return f"domain: d\ndescriptors:\n- {{key: k, rate_limit: {{{', '.join(of_limit)}}}{of_descriptor}}}\n".encode()


def parsed(text, overlay=None):
    return examine([("p.yaml", text)], overlay=overlay)


@given(LIMITS, SAID)
def test_an_overlay_says_what_the_policy_could_have_written(limit, said):
    """The limit is the same, or it is as it was sent where the parser would have an error."""
    assume(said)
    written, entry = parsed(policy(limit, said)), ", ".join(f"{key}: {value}" for key, value in said.items())
    try:
        overlay = read_overlay("o.yaml", f"overlay: [{{domain: d, {entry}}}]".encode())
    except PolicyErrors:
        assert written.errors
        return
    found = parsed(policy(limit, {}), overlay)
    (made,), (effect,) = found.rows[1].limits, found.effects
    assert found.errors == []
    if written.errors:
        assert (made,) == parsed(policy(limit, {})).rows[1].limits
        assert [(left.count, left.first) for left in effect.left.values()] == [(1, ["d.k"])]
    else:
        assert (made._replace(overlaid=()),) == written.rows[1].limits
        assert [key for key, _ in made.overlaid] == [key for key in ORDER if key in said]
        assert effect.left == {}
