"""Plot of runs: one panel per run, with shared axes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ratelimitd.algorithms import SECOND
from ratelimitd.simulate.report import buckets, step_of
from ratelimitd.simulate.run import Run

# Blue and orange of Okabe and Ito: distinguishable for color-blind readers and in print.
ALLOWED: Final = "#0072B2"
LIMITED: Final = "#E69F00"
INK: Final = "#333333"
FAINT: Final = "#DDDDDD"

_UNITS: Final = ((3 * 86_400, 86_400, "days"), (3 * 3600, 3600, "hours"), (3 * 60, 60, "minutes"), (0, 1, "seconds"))


def plot(runs: Sequence[Run], file: Path) -> None:
    """Write a PNG of allowed and limited requests over time. Raises OSError if it cannot be written."""
    step = step_of(runs)
    figure = Figure(figsize=(7.2, 0.9 + 1.7 * len(runs)), dpi=150, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(runs), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    span = max(run.times[-1] - run.times[0] for run in runs) / SECOND
    scale, unit = next((scale, unit) for least, scale, unit in _UNITS if span >= least)
    for axes, run in zip(panels, runs, strict=True):
        _panel(axes, run, step, scale)
    panels[-1].set_xlabel(f"{unit} after the first request", color=INK)
    figure.supylabel(f"requests per {step / SECOND:g} s", fontsize="medium", color=INK)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=2, frameon=False, labelcolor=INK)
    figure.savefig(file, format="png")


def _panel(axes: Any, run: Run, step: int, scale: int) -> None:
    counted = buckets(run, step)
    width = step / SECOND / scale
    middles = [bucket.start / SECOND / scale + width / 2 for bucket in counted]
    allowed = [bucket.allowed for bucket in counted]
    axes.bar(middles, allowed, width * 0.86, color=ALLOWED, label="allowed")
    axes.bar(middles, [bucket.limited for bucket in counted], width * 0.86, allowed, color=LIMITED, label="limited")
    axes.set_title(run.name, loc="left", fontsize="medium", fontweight="bold", color=INK)
    axes.set_title(f"{run.total - run.over} allowed, {run.over} limited", loc="right", fontsize="small", color=INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(INK)
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=INK, labelsize="small")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes.margins(x=0.01)
