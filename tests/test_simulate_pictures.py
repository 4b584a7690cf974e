"""What the simulator draws: the plot, and the bars of the table on a terminal."""

import io
import sys

import pytest
from rich.console import Console

from ratelimitd.algorithms import SECOND, make_rate
from ratelimitd.policy import Limit, Unit, assemble
from ratelimitd.policy_file import examine
from ratelimitd.simulate import Run, evenly, run
from ratelimitd.simulate.plot import sustained, title
from ratelimitd.simulate.report import table
from tests.simulating import LOAD, cli

POLICY = """
domain: shop
descriptors:
  - key: user
    rate_limit: {unit: second, requests_per_unit: 5}
  - key: other
    rate_limit: {unit: day, requests_per_unit: 7}
"""

LIMIT = Limit(make_rate("gcra", 30, 60 * SECOND, None, True), 30, Unit.MINUTE)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "shop.yaml"
    path.write_text(POLICY)
    return str(path)


@pytest.mark.slow
def test_plot(file, tmp_path):
    """--plot writes a PNG beside the table."""
    picture = tmp_path / "a.png"
    result = cli("--config", file, *LOAD, "--compare", "fixed_window,token_bucket", "--plot", str(picture))

    assert result.exit_code == 0, result.output
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_title_of_a_plot_says_what_was_limited():
    """Domain, descriptors and limits, so that a saved picture explains itself; algorithms stand above their panels."""
    limits = [LIMIT, LIMIT._replace(unit=Unit.HOUR, unit_multiplier=2), Limit(None)]
    runs = [Run(name, [0], [False], 0, limits) for name in ("fixed_window", "gcra")]

    assert title(runs, "shop: user=alice") == "shop: user=alice\nlimited to 30 per minute, and 30 per 2 hours"
    assert title([Run("gcra", [0], [False], 1)], "shop: a=b") == "shop: a=b\nno limit applied"


def test_the_line_of_a_plot_is_what_a_limit_admits_in_the_long_run():
    """Per interval of the picture: 30 a minute are 2.5 in five seconds."""
    assert sustained(Run("gcra", [0], [False], 0, [LIMIT, Limit(None)]), 5 * SECOND) == [2.5]


def test_a_run_knows_the_limits_that_applied():
    """Each once, and none that no request met."""
    parsed = examine([("shop.yaml", POLICY.encode())])
    events = list(evenly([((b"user", b"alice"),)], 1.0, 5.0, None))
    found = run("as configured", assemble(parsed.rows), b"shop", events).limits

    assert [(limit.requests_per_unit, limit.unit) for limit in found] == [(5, Unit.SECOND)]


def test_a_bar_has_the_share_of_what_was_allowed():
    """The fullest interval is as wide as a bar may be; the column is for a single run alone."""
    one = Run("a", [0, 0, 0, 0, 5 * SECOND], [False, True, True, True, False], 0)
    console = Console(width=120, file=io.StringIO())
    with console.capture() as said:
        console.print(table([one], bars=True))

    drawn = [line.count("█") for line in said.get().splitlines() if "█" in line]
    assert drawn == [40, 10]
    assert len(table([one, one], bars=True).columns) == 5


@pytest.mark.slow
def test_plot_where_nothing_can_be_written(file, tmp_path):
    """A picture that cannot be written is a sentence."""
    result = cli("--config", file, *LOAD, "--plot", str(tmp_path / "no" / "a.png"))

    assert (result.exit_code, "cannot write" in result.output) == (1, True)


def test_plot_without_matplotlib(file, monkeypatch, tmp_path):
    """Without the extra, the error says what to install."""
    monkeypatch.delitem(sys.modules, "ratelimitd.simulate.plot", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = cli("--config", file, *LOAD, "--plot", str(tmp_path / "a.png"))

    assert result.exit_code == 1
    assert "pip install 'ratelimitd[plot]'" in result.output
