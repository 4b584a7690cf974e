"""Plot of runs: one panel per run, with shared axes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ratelimitd.algorithms import SECOND
from ratelimitd.policy import Limit, amount_in_words
from ratelimitd.simulate.report import Bucket, buckets, step_of
from ratelimitd.simulate.run import Run

# Blue and orange of Okabe and Ito: distinguishable for color-blind readers and in print.
ALLOWED: Final = "#0072B2"
LIMITED: Final = "#E69F00"
OFFERED: Final = "#999999"
INK: Final = "#333333"
FAINT: Final = "#DDDDDD"

_UNITS: Final = ((3 * 86_400, 86_400, "days"), (3 * 3600, 3600, "hours"), (3 * 60, 60, "minutes"), (0, 1, "seconds"))


def plot(runs: Sequence[Run], subject: str, file: Path) -> None:
    """Write offered, allowed and limited requests over time as SVG or PNG. Raises OSError if it cannot be written.

    The title has ``subject``, the domain and descriptors, and the limits that applied.
    """
    step = step_of(runs)
    figure = Figure(figsize=(7.2, 3.0 + 1.7 * len(runs)), dpi=150, layout="constrained", facecolor="white")
    figure.suptitle(title(runs, subject), x=0.01, ha="left", fontsize="medium", color=INK)
    first, *panels = figure.subplots(1 + len(runs), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    span = max(run.times[-1] - run.times[0] for run in runs) / SECOND
    scale, unit = unit_of(span)
    _offered(first, runs[0], step, scale)
    for axes, run in zip(panels, runs, strict=True):
        _panel(axes, run, step, scale)
    panels[-1].set_xlabel(f"{unit} after the first request", color=INK)
    figure.supylabel(f"requests per {step / SECOND:g} s", fontsize="medium", color=INK)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=3, frameon=False, labelcolor=INK)
    save(figure, file)


def save(figure: Figure, file: Path) -> None:
    """Write a figure in the format of the file's suffix: SVG, else PNG. The same figure gives the same bytes."""
    if file.suffix != ".svg":
        figure.savefig(file, format="png")
        return
    with mpl.rc_context({"svg.hashsalt": "ratelimitd"}):
        figure.savefig(file, format="svg", metadata={"Date": None})


def unit_of(span: float) -> tuple[int, str]:
    """Return the unit of an axis of this many seconds, in seconds, and its name."""
    return next((scale, unit) for least, scale, unit in _UNITS if span >= least)


def title(runs: Sequence[Run], subject: str) -> str:
    """Return the subject and the limits that applied: the algorithms may differ between runs, the limits do not."""
    limits = list(dict.fromkeys(_worded(limit) for run in runs for limit in run.limits if limit.rate))
    return f"{subject}\n" + ("limited to " + ", and ".join(limits) if limits else "no limit applied")


def _worded(limit: Limit) -> str:
    return amount_in_words(limit)


def sustained(run: Run, step: int) -> list[float]:
    """Return how many requests each limit of a run admits per interval in the long run."""
    return sorted({limit.rate.quota * step / limit.rate.window for limit in run.limits if limit.rate})


def _offered(axes: Any, run: Run, step: int, scale: int) -> None:
    middles, width, counted = _bars(run, step, scale)
    axes.bar(middles, [bucket.allowed + bucket.limited for bucket in counted], width * 0.86, color=OFFERED)
    styled(axes, "offered", f"{run.total} requests")


def _bars(run: Run, step: int, scale: int) -> tuple[list[float], float, list[Bucket]]:
    """Return the middles of the bars, the width of an interval, and the counts."""
    counted = buckets(run, step)
    width = step / SECOND / scale
    return [bucket.start / SECOND / scale + width / 2 for bucket in counted], width, counted


def _panel(axes: Any, run: Run, step: int, scale: int) -> None:
    middles, width, counted = _bars(run, step, scale)
    allowed = [bucket.allowed for bucket in counted]
    axes.bar(middles, allowed, width * 0.86, color=ALLOWED, label="allowed")
    axes.bar(middles, [bucket.limited for bucket in counted], width * 0.86, allowed, color=LIMITED, label="limited")
    top = axes.get_ylim()[1]
    label = "limit, in the long run"
    for rate in sustained(run, step):
        if rate <= top * 1.2:  # a limit far above the traffic would flatten the bars
            axes.axhline(rate, color=INK, linewidth=1, linestyle=(0, (4, 3)), label=label)
            label = "_"  # one entry in the legend
    styled(axes, run.name, f"{run.total - run.over} allowed, {run.over} limited")


def styled(axes: Any, name: str, total: str, *, whole: bool = True) -> None:
    """Give a panel its name, its totals and its style. ``whole``: its numbers are counts."""
    axes.set_title(name, loc="left", fontsize="medium", fontweight="bold", color=INK)
    axes.set_title(total, loc="right", fontsize="small", color=INK)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(INK)
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=INK, labelsize="small")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=whole))
    axes.margins(x=0.01)
