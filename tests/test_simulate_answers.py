"""Answers that are paid for afterwards, on simulated time: their load, what limits make of them, and the report."""

import json
import sys
from random import Random

import pytest

from ratelimitd.algorithms import SECOND, make_rate
from ratelimitd.policy import Limit, Unit
from ratelimitd.simulate import SimulationError
from ratelimitd.simulate.answers import CALLERS, DOMAIN, Budget, Load, design, distribution, policy_of, rows_of, run
from ratelimitd.simulate.answers.ledger import Ledger
from ratelimitd.simulate.answers.load import LOST, facts, stream
from ratelimitd.simulate.answers.report import as_json
from ratelimitd.simulate.answers.run import Spent
from tests.simulating import cli

STEADY = Load(10, 600, distribution("100"), distribution("100"), 0.5, 1.0, 0.0, 700, 0.0, 0)
"""10 callers, whose answers of 100 tokens take 1.5 s, in time for 10 minutes."""


def simulated(load, text, budget=(500, 600), algorithm="fixed_window"):
    made = policy_of(rows_of(*budget, algorithm), DOMAIN, design(text))
    return run(text, Budget(made, DOMAIN, [CALLERS]), load)


def spent(*windows, algorithm="fixed_window"):
    ledger = Ledger(Limit(make_rate(algorithm, 100, 60 * SECOND), 100, Unit.MINUTE))
    for number, tokens in enumerate(windows):
        for each in tokens:
            ledger.add(each, number * 60 * SECOND + 1)
    return Spent(ledger.limit, ledger.windows(60 * len(windows)))


@pytest.mark.parametrize(
    ("text", "least", "median", "most"),
    [("700", 700, 700, 700), ("50..150", 50, 100, 150), ("400,732", 1, 400, 1e6), ("400,732,300..500", 300, 400, 500)],
)
def test_distributions(text, least, median, most):
    """Always the same, even, log-normal, and log-normal in a range."""
    random, made = Random(1), distribution(text)
    drawn = sorted(made.draw(random) for _ in range(4001))

    assert least <= drawn[0]
    assert drawn[2000] == pytest.approx(median, rel=0.1)
    assert drawn[-1] <= most


def test_the_mean_of_a_distribution_is_as_written():
    """A log-normal distribution has its median and its mean."""
    random, made = Random(2), distribution("400,732")

    assert sum(made.draw(random) for _ in range(100_000)) / 100_000 == pytest.approx(732, rel=0.03)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "'' is not a number above 0"),
        ("a", "'a' is not a number"),
        ("0", "not a number above 0"),
        ("inf", "not a number above 0"),
        ("nan", "not a number above 0"),
        ("1,2,3", "not a distribution"),
        ("400,50..60", "not a distribution"),
        ("60..50", "not a distribution"),
        ("400,300", "mean of 300 below the median"),
    ],
)
def test_what_is_no_distribution(text, why):
    """An error says what is wrong and which forms there are."""
    with pytest.raises(ValueError, match=f"{why}.*write N, LEAST..MOST"):
        distribution(text)


def test_an_answer_that_is_left_costs_its_substitute():
    """What was generated until then is less than the answer, and takes less time."""
    whole = stream(STEADY, Random(3))
    left = stream(STEADY._replace(hang_ups=1.0), Random(3))

    assert whole == (round(1.5 * SECOND), 100, 100)
    assert left.tokens < 100
    assert (left.lasts, left.reported) == (round((0.5 + left.tokens / 100) * SECOND), 700)
    assert stream(STEADY._replace(lost=1.0), Random(3)) is LOST


def test_what_becomes_of_an_answer_does_not_change_the_next_one():
    """Designs that let different questions pass are compared with the same answers."""
    load = STEADY._replace(answers=distribution("400,732"))
    after = {}
    for change in ({}, {"hang_ups": 1.0}, {"lost": 1.0}):
        random = load.random(0)
        stream(load._replace(**change), random)
        after[random.random()] = change

    assert len(after) == 1


def test_the_facts_of_a_load():
    """Answers in flight are worth more than the mean, since long ones are in flight longer."""
    found = facts(STEADY._replace(answers=distribution("400,732,50..8000"), pace=distribution("50,57,5..200")))

    assert (found.median, found.mean, found.p90) == pytest.approx((400, 720, 1640), rel=0.05)
    assert found.in_flight == pytest.approx(1970, rel=0.05)
    assert found.lasts == pytest.approx(8.5, rel=0.05)


def test_over_run_of_windows():
    """How far each window ended above its limit, and the part of the budget that was used."""
    made = spent([60, 90], [20], [], [100])

    assert made.over_runs == pytest.approx([0.5, 0, 0, 0])
    assert made.used == pytest.approx((100 + 20 + 0 + 100) / 400)


def test_over_run_of_a_bucket():
    """A bucket remembers: its debt past the burst is highest where answers end, and drains."""
    made = spent([150, 150], [50], algorithm="token_bucket")

    assert made.over_runs == pytest.approx([2.0, 1.5], abs=0.02)
    assert made.used == pytest.approx(350 / 300)


def test_all_callers_see_the_same_remainder():
    """10 callers at once use 1,000 of a budget of 500: each was asked for at least 1 before any answer ended."""
    made = simulated(STEADY, "after")

    assert made.passed == 10
    assert made.spent[0].windows[0] == (1_000, 1_000)
    assert made.spent[0].over_runs == [1.0]


@pytest.mark.parametrize("algorithm", ["token_bucket", "sliding_window_counter", "sliding_window"])
def test_costs_that_are_asked_for_afterwards_are_no_budget(algorithm):
    """``before`` refuses what does not fit and forgets it, so nothing is ever denied."""
    before, after = (simulated(STEADY, f"{algorithm}+{charge}") for charge in ("before", "after"))

    assert before.denied == 0
    assert before.spent[0].windows[0].used > 10 * after.spent[0].windows[0].used


def test_denied_callers_wait_as_they_are_told():
    """After a denial a caller asks again when the window has turned, and not before."""
    made = simulated(STEADY._replace(seconds=1_800), "after")

    assert (made.passed, made.denied) == (30, 30)


def test_an_answer_that_never_settles_is_free():
    """A substitute of 0: the counter stays empty, and what was generated counts as over-run all the same."""
    made = simulated(STEADY._replace(hang_ups=1.0, substitute=0), "after")

    assert made.denied == 0
    assert made.spent[0].windows[0].used > 500


def test_a_question_whose_caller_leaves_has_no_answer():
    """Nothing is generated, and its caller asks again."""
    made = simulated(STEADY._replace(lost=1.0), "after")

    assert made.passed > 5_000
    assert made.spent[0].windows == [(0, 0)]


def test_the_seed_is_all_of_the_chance():
    """The same seed gives the same results, and another one others."""
    load = STEADY._replace(answers=distribution("400,732"), seconds=2_400)
    first, again, other = (
        as_json([simulated(load._replace(seed=seed), "after", (5_000, 600))], load) for seed in (1, 1, 2)
    )

    assert first == again != other


def test_too_much_to_simulate(monkeypatch):
    """A simulation that would take minutes ends with a sentence."""
    monkeypatch.setattr(sys.modules[run.__module__], "EVENTS_MAX", 1_000)
    with pytest.raises(SimulationError, match="simulate fewer callers or a shorter time"):
        simulated(STEADY._replace(lost=1.0), "after")


POLICY = """
domain: llm
default_charge: after
descriptors:
  - key: tenant
    rate_limits:
      - {name: minute, unit: minute, requests_per_unit: 5000}
      - {name: day, unit: day, requests_per_unit: 1000000}
  - key: free
    rate_limit: {unlimited: true}
  - key: session
    rate_limit: {concurrent: 3}
"""
TABLE = ("--budget", "20000/10m", "--callers", "20", "--for", "30m")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "llm.yaml"
    path.write_text(POLICY)
    return str(path)


def test_a_budget_without_a_policy():
    """The table has a row for each design, with what was used and how far it was exceeded."""
    result = cli(*TABLE, "--compare", "token_bucket+before,after")

    assert result.exit_code == 0, result.output
    assert result.output.startswith("20 callers; answers of ")
    rows = [line.split() for line in result.output.splitlines() if line.lstrip().startswith(("token", "after"))]
    assert [row[0] for row in rows] == ["token_bucket+before", "after"]
    assert (rows[0][2], rows[1][3]) == ("0", "100%")


@pytest.mark.parametrize(
    ("window", "seconds"),
    [("10m", 600), ("day", 86_400), ("30d", 30 * 86_400), ("2w", 14 * 86_400), ("month", 30 * 86_400)],
)
def test_the_window_of_a_budget(window, seconds):
    """A duration, a unit of a policy, or a number of days or weeks."""
    words = ("--budget", f"5000/{window}", "--callers", "2", "--for", "1m", "--json", "--compare", "after")
    (found,) = json.loads(cli(*words).output)["runs"][0]["limits"]

    assert found["window_seconds"] == seconds


def test_a_policy_of_several_limits(file):
    """Each limit that applies has a row of its own, named by amount and window."""
    result = cli(file, "-d", "llm", "tenant=acme", "--callers", "5", "--for", "5m")

    assert result.exit_code == 0, result.output
    lines = [line.split("  ") for line in result.output.splitlines()]
    found = [[cell.strip() for cell in cells if cell.strip()][:2] for cells in lines]
    assert ["as configured", "5,000 per minute"] in found
    assert "1,000,000 per day" in [cells[0] for cells in found if cells]


def test_a_lease_among_the_entries_is_removed_before_matching(file):
    """Whether a settlement has one is a part of the design."""
    words = ("--callers", "5", "--for", "10m", "--json", "-d", "llm")
    plain, leased = (cli(file, entry, *words) for entry in ("tenant=a", "tenant=a,ratelimitd.lease=none"))

    assert leased.output == plain.output
    assert plain.exit_code == 0


def test_answers_as_json(file):
    """Load and results, with each window of each limit."""
    result = cli(file, "-d", "llm", "tenant=acme", "--callers", "5", "--for", "5m", "--json", "--compare", "after")

    value = json.loads(result.output)
    assert value["load"]["mean"] == pytest.approx(720, rel=0.05)
    (only,) = value["runs"]
    assert (only["design"], [limit["limit"] for limit in only["limits"]]) == ("after", [5_000, 1_000_000])
    assert len(only["limits"][0]["windows"]) == 5


@pytest.mark.slow
def test_the_same_plot_has_the_same_bytes(tmp_path):
    """A plot in the documentation changes only if its numbers do."""
    for name in ("a.svg", "b.svg"):
        assert cli(*TABLE, "--plot", str(tmp_path / name)).exit_code == 0

    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert b"<svg" in (tmp_path / "a.svg").read_bytes()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--budget", "20000/10m", "--callers", "5"], "--callers needs --for"),
        ([*TABLE, "--rate", "1/s"], "remove --rate"),
        ([*TABLE, "--hits", "1"], "remove --hits"),
        ([*TABLE, "-d", "llm"], "takes the place of a policy"),
        ([*TABLE, "--compare", "magic"], "'magic' is no design"),
        ([*TABLE, "--answers", "x"], "not a number above 0"),
        ([*TABLE, "--hang-ups", "2"], "not a number from 0 to 1"),
        (["--budget", "20000", "--callers", "5", "--for", "1h"], "not a budget"),
        (["--budget", "20000/1.5s", "--callers", "5", "--for", "1h"], "no whole seconds"),
        (["--budget", "99999999999/1m", "--callers", "5", "--for", "1h"], "the budget is not possible"),
        (["--budget", "0/10m", "--callers", "5", "--for", "1h"], "a budget is at least 1"),
        (["--budget", "-1/10m", "--callers", "5", "--for", "1h"], "a budget is at least 1"),
        (["--budget", "1/2month", "--callers", "5", "--for", "1h"], "not a budget (not a duration"),
        (["--budget", "1/0d", "--callers", "5", "--for", "1h"], "not a budget (must be greater than 0)"),
        ([*TABLE, "--compare", "sliding_window+after"], "'callers' cannot be compared as sliding_window+after"),
        (["FILE", "-d", "llm", "--callers", "5", "--for", "1h"], "no descriptors are given"),
        (["FILE", "tenant=a", "--callers", "5", "--for", "1h"], "no domain is given"),
        (["FILE", "-d", "llm", "tnt=a", "--callers", "5", "--for", "1h"], "no limit applies"),
        (["FILE", "-d", "llm", "free=a", "--callers", "5", "--for", "1h"], "no limit applies"),
        (["FILE", "-d", "llm", "session=a", "--callers", "5", "--for", "1h"], "only 'concurrent' limits apply"),
        (
            ["FILE", "-d", "llm", "tenant=a", "--rate", "1/s", "--for", "1h", "--compare", "after"],
            "after needs --callers",
        ),
        (["FILE", "-d", "llm", "tenant=a", "--rate", "1/s", "--for", "1h", "--think", "2s"], "remove --think"),
    ],
)
def test_mistakes(file, words, why):
    """Every mistake is a sentence, never a traceback."""
    result = cli(*(file if word == "FILE" else word for word in words))

    assert result.exit_code in {1, 2}
    assert isinstance(result.exception, SystemExit)
    assert why in " ".join(result.output.split())
