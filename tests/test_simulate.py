"""The simulator: its loads, its answers, its comparisons, and how it shows them."""

import json
from itertools import pairwise

import pytest

from ratelimitd.policy import Descriptor, assemble
from ratelimitd.policy_file import examine
from ratelimitd.simulate import (
    Event,
    LoadError,
    Run,
    SimulationError,
    evenly,
    from_lines,
    poisson,
    run,
    with_algorithm,
)
from ratelimitd.simulate.report import ROWS, buckets, step_of
from tests.simulating import LOAD, cli

SECOND = 1_000_000
ALICE = (((b"user", b"alice"),),)
POLICY = """
domain: shop
descriptors:
  - key: user
    rate_limit: {unit: second, requests_per_unit: 5}
  - key: shadow
    shadow_mode: true
    rate_limit: {unit: second, requests_per_unit: 0}
  - key: meter
    rate_limit: {unit: second, requests_per_unit: 5, burst: 9, algorithm: token_bucket}
  - key: many
    rate_limit: {unit: hour, requests_per_unit: 20000}
  - key: open
    rate_limit: {unlimited: true}
"""


def rows(text=POLICY):
    parsed = examine([("shop.yaml", text.encode())])
    assert not parsed.errors
    return parsed.rows


def policy(text=POLICY):
    return assemble(rows(text))


def of(key, *times, hits=None):
    return [Event(int(time * SECOND), (Descriptor(((key, b"x"),), hits=hits),)) for time in times]


def test_evenly():
    """Requests come evenly spaced from 0, as many as rate and time say."""
    events = list(evenly(ALICE, 20, 120, 3))

    assert len(events) == 2400
    assert [event.time for event in events[:3]] == [0, 50_000, 100_000]
    assert events[-1].time < 120 * SECOND
    assert events[0].descriptors == (Descriptor(ALICE[0], hits=3),)


def test_evenly_at_a_rate_without_whole_gaps():
    """A rate whose gap is no whole number of µs does not drift."""
    assert list(evenly(ALICE, 3, 1000, None))[2997].time == 999 * SECOND


def test_poisson():
    """Random gaps have the rate on average, stay in the time, and are the same for the same seed."""
    first, again, other = (list(poisson(ALICE, 50, 100, None, seed)) for seed in (1, 1, 2))

    assert first == again != other
    assert 4500 < len(first) < 5500
    assert all(before.time <= after.time < 100 * SECOND for before, after in pairwise(first))


def test_too_many_requests():
    """A load that would take minutes is refused before it starts."""
    with pytest.raises(LoadError, match="simulate a shorter time"):
        list(evenly(ALICE, 1e6, 3600, None))


def test_lines():
    """JSON lines are read in order of time, seconds or RFC 3339, empty lines passed by."""
    events = from_lines(
        [
            '{"time": 1.5, "descriptors": [{"a": "1", "b": "2"}, {"c": "3"}]}\n',
            "\n",
            '{"time": "1970-01-01T00:00:01.25Z", "descriptors": [{"a": "1"}], "hits": 0}\n',
        ]
    )

    assert events == [
        Event(1_250_000, (Descriptor(((b"a", b"1"),), hits=0),)),
        Event(1_500_000, (Descriptor(((b"a", b"1"), (b"b", b"2"))), Descriptor(((b"c", b"3"),)))),
    ]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "Expecting"),
        ("[" * 100_000, "recursion"),
        ("1", "not a request"),
        ('{"time": 0}', "descriptors must be"),
        ('{"descriptors": [{"a": "1"}]}', "time must be"),
        ('{"time": -1, "descriptors": [{"a": "1"}]}', "time must be"),
        ('{"time": NaN, "descriptors": [{"a": "1"}]}', "time must be"),
        ('{"time": true, "descriptors": [{"a": "1"}]}', "time must be"),
        ('{"time": 1700000000000, "descriptors": [{"a": "1"}]}', "time must be"),
        ('{"time": "2100-01-01T00:00:00Z", "descriptors": [{"a": "1"}]}', "before the year 2100"),
        ('{"time": "1969-12-31T23:59:59Z", "descriptors": [{"a": "1"}]}', "at least 0"),
        (b'{"time": 0, "descriptors": [{"a": "\xff"}]}', "utf-8"),
        ('{"time": "noon", "descriptors": [{"a": "1"}]}', "RFC 3339"),
        ('{"time": "2026-01-01T00:00:00", "descriptors": [{"a": "1"}]}', "no time zone"),
        ('{"time": 0, "descriptors": [{"a": 1}]}', "object with string values"),
        ('{"time": 0, "descriptors": ["a=1"]}', "object with string values"),
        ('{"time": 0, "descriptors": [{"a": "1"}], "hits": -1}', "hits must be"),
        ('{"time": 0, "descriptors": [{"a": "1"}], "hit": 1}', "unknown field 'hit'"),
    ],
)
def test_bad_lines(line, why):
    """A line that cannot be read is named with its number and what is wrong."""
    with pytest.raises(LoadError, match=f"(?s){why}.*line 2"):
        from_lines(["\n", line])


def test_fixed_window_over_time():
    """A limit of 5 a second lets 5 of each second's 20 pass, and the first 5 of them."""
    done = run("x", policy(), b"shop", evenly(ALICE, 20, 10, None))

    assert (done.total, done.over) == (200, 150)
    assert [bucket.allowed for bucket in buckets(done, SECOND)] == [5] * 10
    assert list(done.limited[:20]) == [False] * 5 + [True] * 15


def test_hits_are_a_cost():
    """Hits cost that many; a peek costs none."""
    assert run("x", policy(), b"shop", of(b"user", 0, 0.1, hits=3)).limited == [False, True]
    assert run("x", policy(), b"shop", of(b"user", *[0.1] * 9, hits=0)).over == 0


def test_shadow_limits_never_limit():
    """A shadow limit is simulated as the service treats it."""
    assert run("x", policy(), b"shop", of(b"shadow", 0, 1)).over == 0


def test_requests_without_a_limit_are_counted():
    """A descriptor that matches nothing is told apart from one that is allowed; unlimited is a match."""
    assert run("x", policy(), b"shop", of(b"nobody", 0, 1)).unmatched == 2
    assert run("x", policy(), b"shop", of(b"open", 0, 1)).unmatched == 0


def test_unknown_domain():
    """A domain the policy does not have is an error that names those it has."""
    with pytest.raises(SimulationError, match=r"domain 'shpo' is not defined by the policy \(shop\)"):
        run("x", policy(), b"shpo", of(b"user", 0))


def test_compare_gives_every_limit_the_algorithm():
    """Every limit and the domain's overrides get the algorithm, with the same numbers."""
    made = with_algorithm(rows(), b"shop", "gcra")

    rates = [limit.rate for node in made.nodes for limit in node.limits if limit.rate]
    assert {rate.algorithm for rate in rates} == {"gcra"}
    assert [rate.burst for rate in rates] == [5, 0, 9, 20_000]
    assert made.domains[b"shop"].default_algorithm == "gcra"


def test_compare_drops_what_an_algorithm_does_not_take():
    """A burst is left out for a window, and count_rejected for all but the fixed one."""
    text = POLICY.replace("requests_per_unit: 5}", "requests_per_unit: 5, count_rejected: false}", 1)
    counter = with_algorithm(rows(text), b"shop", "sliding_window_counter")
    fixed = with_algorithm(rows(text), b"shop", "fixed_window")

    assert {limit.rate.burst for node in counter.nodes for limit in node.limits if limit.rate} == {5, 0, 20_000}
    assert all(limit.rate.count_rejected for node in counter.nodes for limit in node.limits if limit.rate)
    assert not next(limit.rate.count_rejected for node in fixed.nodes for limit in node.limits if limit.rate)


def test_compare_with_an_algorithm_that_cannot():
    """A limit too large for the sliding window is an error that names its descriptor and another algorithm."""
    with pytest.raises(SimulationError, match=r"descriptor 'many'.*sliding_window_counter"):
        with_algorithm(rows(), b"shop", "sliding_window")


def test_compare_leaves_other_domains_alone():
    """What cannot be compared in another domain is none of this one's business."""
    both = [*rows(), *rows("domain: other\ndescriptors: [{key: a, rate_limit: {unit: hour, requests_per_unit: 7}}]")]
    shop = len(rows())
    both[shop + 1] = both[shop + 1]._replace(parent=shop)
    made = with_algorithm(both, b"other", "sliding_window")

    assert {limit.rate.algorithm for limit in made.domains[b"other"].root.children[b"a"].limits} == {"sliding_window"}
    assert made.domains[b"shop"].default_algorithm == "fixed_window"


def made_run(*times):
    return Run("x", times, [False] * len(times), 0)


def test_buckets_keep_empty_stretches():
    """A stretch without requests is shown as one, and time starts at the first request."""
    done = Run("x", [7 * SECOND, 7 * SECOND + 1, 10 * SECOND], [False, True, False], 0)

    assert buckets(done, SECOND) == [(0, 1, 1), (SECOND, 0, 0), (2 * SECOND, 0, 0), (3 * SECOND, 1, 0)]


@pytest.mark.parametrize("span", [0, 1, 999, 23_999, SECOND, 59 * SECOND, 86_400 * SECOND, 10**15])
def test_stretches_fit_a_screen(span):
    """However long the simulated time, the table has a screenful of rows at most."""
    done = made_run(0, span)

    assert 1 <= len(buckets(done, step_of([done]))) <= ROWS


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "shop.yaml"
    path.write_text(POLICY)
    return str(path)


def test_table(file):
    """The table has a row for each stretch of time, and the totals."""
    result = cli("--config", file, *LOAD)

    assert result.exit_code == 0, result.output
    assert "as configured" in result.output
    total = next(line for line in result.output.splitlines() if "total" in line)
    assert total.split() == ["total", "50", "150"]


def test_compare_side_by_side(file):
    """--compare has a pair of columns for each algorithm, over the same requests."""
    result = cli("--config", file, *LOAD, "--compare", "fixed_window,token_bucket", "--json")

    value = json.loads(result.output)
    assert [(each["algorithm"], each["allowed"], each["limited"]) for each in value["runs"]] == [
        ("fixed_window", 50, 150),
        ("token_bucket", 54, 146),
    ]
    assert value["bucket_seconds"] == 0.5
    assert value["runs"][0]["buckets"][:2] == [
        {"from": 0.0, "allowed": 5, "limited": 5},
        {"from": 0.5, "allowed": 0, "limited": 10},
    ]
    table = cli("--config", file, *LOAD, "--compare", "fixed_window,token_bucket").output.splitlines()
    assert next(line.split() for line in table if "total" in line) == ["total", "50", "150", "54", "146"]


def test_requests_from_standard_input(file):
    """--requests - reads JSON lines from standard input."""
    lines = (
        '{"time": 0, "descriptors": [{"user": "alice"}], "hits": 6}\n{"time": 1, "descriptors": [{"user": "bob"}]}\n'
    )
    (only,) = json.loads(cli("--config", file, "-d", "shop", "--requests", "-", "--json", stdin=lines).output)["runs"]

    assert (only["allowed"], only["limited"]) == (1, 1)


def test_unmatched_is_said(file):
    """A load that no limit applies to is pointed out."""
    result = cli("--config", file, "-d", "shop", "usr=alice", "--rate", "1/m", "--for", "1h")

    assert "no limit applied to 60 of 60 requests" in result.output


def test_a_lease_is_removed_before_matching(file):
    """A release charges nothing; without hits there is nothing else to do."""
    result = cli("--config", file, "-d", "shop", "user=alice,ratelimitd.lease=none", "--rate", "1/s", "--for", "1m")

    assert "no limit applied" not in result.output


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["-d", "shop", "user=alice"], "no requests given"),
        (["-d", "shop", "--rate", "1/s", "--for", "1s"], "no requests given"),
        (["-d", "shop", "user=alice", "--rate", "1/x", "--for", "1s"], "not a rate"),
        (["-d", "shop", "user=alice", "--rate", "0/s", "--for", "1s"], "not a rate"),
        (["-d", "shop", "user=alice", "--rate", "1/s", "--for", "long"], "not a duration"),
        (["-d", "shop", "user", "--rate", "1/s", "--for", "1s"], "is not an entry"),
        (["-d", "shop", "user=alice", "--requests", "-"], "remove KEY=VALUE"),
        (["-d", "shop", "--requests", "-"], "no requests"),
        (["-d", "nope", "user=alice", "--rate", "1/s", "--for", "1s"], "domain 'nope' is not defined"),
        (["-d", "shop", "user=alice", "--rate", "1/s", "--for", "1s", "--compare", "magic"], "unknown value; write"),
        (["-d", "shop", "user=alice", "--rate", "1/s", "--for", "1s", "--compare", "sliding_window"], "'many'"),
    ],
)
def test_mistakes(file, words, why):
    """Every mistake is a sentence, never a traceback."""
    result = cli("--config", file, *words)

    assert result.exit_code in {1, 2}
    assert isinstance(result.exception, SystemExit)
    assert why in " ".join(result.output.split())


def test_a_bad_policy(tmp_path):
    """Errors of the policy are shown as validate shows them."""
    bad = tmp_path / "bad.yaml"
    bad.write_text("domain: ''\n")
    result = cli("--config", str(bad), *LOAD)

    assert result.exit_code == 1
    assert f"{bad}: config file cannot have empty domain" in result.output
