"""Plot of designs: one panel each, with what was used in each window, and what of it was past the limit."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ratelimitd.algorithms import SECOND
from ratelimitd.simulate.plot import ALLOWED, INK, LIMITED, save, styled, unit_of

from .report import mean_over_run, percent, worded
from .run import AnswersRun, Spent


def plot(runs: Sequence[AnswersRun], subject: str, file: Path) -> None:
    """Write the usage of the first limit in each window, as SVG or PNG. Raises OSError if it cannot be written."""
    figure = Figure(figsize=(7.2, 1.6 + 1.5 * len(runs)), dpi=150, layout="constrained", facecolor="white")
    figure.suptitle(f"{subject}\n{worded(runs[0].spent[0].limit)}", x=0.01, ha="left", fontsize="medium", color=INK)
    panels = figure.subplots(len(runs), 1, sharex=True, squeeze=False)[:, 0]
    for axes, run in zip(panels, runs, strict=True):
        _panel(axes, run.name, run.spent[0])
    panels[-1].set_xlabel(f"{_span(runs[0].spent[0])[1]} after the first question", color=INK)
    figure.supylabel("highest usage in a window, of the limit", fontsize="medium", color=INK)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=2, frameon=False, labelcolor=INK)
    save(figure, file)


def _span(spent: Spent) -> tuple[float, str]:
    """Return the length of a window in the unit of the axis, and the unit."""
    window = spent.limit.rate.window / SECOND if spent.limit.rate else 1.0
    scale, unit = unit_of(window * len(spent.windows))
    return window / scale, unit


def _panel(axes: Any, name: str, spent: Spent) -> None:
    width, _ = _span(spent)
    admitted = spent.limit.rate.burst if spent.limit.rate else 1
    middles = [(number + 0.5) * width for number in range(len(spent.windows))]
    within = [min(window.most / admitted, 1.0) for window in spent.windows]
    axes.bar(middles, within, width * 0.86, color=ALLOWED, label="within the limit")
    axes.bar(middles, spent.over_runs, width * 0.86, within, color=LIMITED, label="over-run")
    axes.axhline(1.0, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    over = f"over-run {percent(mean_over_run(spent))}, worst {percent(max(spent.over_runs))}"
    styled(axes, name, f"{percent(spent.used)} used, {over}", whole=False)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda part, _: f"{part:.0%}"))
