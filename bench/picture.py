"""Charts of the measurements, for the docs."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench.builds import GRPCIO, INTERPRETED, SHIPPED
from bench.measure import digits
from bench.report import Report

# The palette of Okabe and Ito, distinguishable with color blindness and in print, with gray for black, which bars hide.
COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999", "#F0E442")
PEERS: Final = tuple(COLOURS[place] for place in (2, 3, 5, 0, 4, 1, 6, 7))
"""In the order in which names without a colour of their own get those that are free."""

INK: Final = "#333333"
FAINT: Final = "#DDDDDD"
NAMED: Final = {SHIPPED: COLOURS[0], INTERPRETED: COLOURS[4], GRPCIO: COLOURS[1], "nghttp2": COLOURS[0]}

BAR: Final = 0.8
"""Part of a row's height that its bars take together."""


def draw(report: Report, file: Path) -> None:
    """Write the chart of a part as SVG; the same numbers give the same bytes."""
    if not report.data or report.part not in DRAWN:
        return
    mpl.rcParams["svg.hashsalt"] = "ratelimitd"
    figure = chart(report)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, format="svg", metadata={"Date": None})


def chart(report: Report) -> Figure:
    """Return the chart of a part in ``DRAWN``."""
    figure = Figure(layout="constrained", facecolor="white")
    FigureCanvasSVG(figure)
    DRAWN[report.part](figure, report.data)
    _head(figure, report.title)
    return figure


def _head(figure: Figure, title: str) -> None:
    """Put the title above the charts, and the legend under it, in as many lines as its names need.

    The title is the legend's: constrained layout puts a title and a legend of the figure in the same place.
    """
    font = {"size": "large", "weight": "bold"}
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if not labels:
        figure.suptitle(title, x=0.01, ha="left", fontproperties=font, color=INK)
        return
    for columns in range(len(labels), 0, -1):
        legend = figure.legend(
            handles, labels, loc="outside upper left", ncols=columns, frameon=False, labelcolor=INK,
            title=title, title_fontproperties=font, alignment="left",
        )  # fmt: skip
        legend.get_title().set_color(INK)
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def _rls(figure: Figure, data: Sequence[dict[str, Any]]) -> None:
    panels = (
        ("rate", 1, "calls/s on one core"),
        ("cpu", 1e6, "CPU µs per call"),
        ("alone_p50", 1e6, "one call at a time, p50 µs"),
    )
    _bars(figure, data, "case", panels)


def _envoy(figure: Figure, data: Sequence[dict[str, Any]]) -> None:
    panels = (
        ("service_cpu", 1e6, "service CPU µs per request"),
        ("rate", 1, "requests/s of one Envoy"),
        ("p50", 1e3, "p50 ms"),
        ("p99", 1e3, "p99 ms"),
    )
    _bars(figure, data, "case", panels)


def _proxy(figure: Figure, data: Sequence[dict[str, Any]]) -> None:
    panels = (("rate", 1, "requests/s on one core"), ("cpu", 1e6, "CPU µs per request"), ("p99", 1e3, "p99 ms"))
    _bars(figure, data, "case", panels)


def _algorithms(figure: Figure, data: Sequence[dict[str, Any]]) -> None:
    flat = [
        {
            "algorithm": each["algorithm"],
            "by": "",
            "step": each["step_ns"],
            "redis": each["redis_cpu_us"]["128"],
            "memory": {"median": each["memory_traced"]},
            "kept": {"median": each["redis_bytes"]},
        }
        for each in data
    ]
    panels = (
        ("step", 1, "ns per step in Python"),
        ("redis", 1, "redis-server, CPU µs per charge"),
        ("memory", 1, "bytes per key in memory"),
        ("kept", 1, "bytes per key in Redis"),
    )
    _bars(figure, flat, "algorithm", panels)


def _loop(figure: Figure, data: Sequence[dict[str, Any]]) -> None:
    numbers = {"hold": "longest hold ms", "p50": "p50 ms", "p99": "p99 ms", "worst": "worst ms"}
    panels = [(name, 1e3, title) for name, title in numbers.items()]
    _bars(figure, data, "meanwhile", panels)


DRAWN: Final = {
    "rls": _rls, "policies": _rls, "envoy": _envoy, "proxy": _proxy, "algorithms": _algorithms, "loop": _loop,
}  # fmt: skip


def _colours(names: Sequence[str]) -> dict[str, str]:
    """Return the colour of each name; they differ for as many names as the palette has colours."""
    if names == [""]:
        return {"": COLOURS[0]}
    own = {name: NAMED[name] for name in names if name in NAMED}
    free = [colour for colour in PEERS if colour not in own.values()]
    return own | dict(zip([name for name in names if name not in own], cycle(free), strict=False))


def _bars(figure: Figure, data: Sequence[dict[str, Any]], group: str, panels: Sequence[tuple[str, float, str]]) -> None:
    """Draw a panel for each number, with a row for each ``group`` and a bar for each measured service."""
    rows = list(dict.fromkeys(each[group] for each in data))
    names = list(dict.fromkeys(each["by"] for each in data))
    colours = _colours(names)
    figure.set_size_inches(4 + 2.6 * len(panels), 1.4 + len(rows) * (0.2 + 0.2 * len(names)))
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    thick = BAR / len(names)
    for axes, (number, scale, title) in zip(all_axes, panels, strict=True):
        for place, name in enumerate(names):
            found = [each for each in data if each["by"] == name and number in each]
            middles = [rows.index(each[group]) - BAR / 2 + thick * (place + 0.5) for each in found]
            values = [each[number]["median"] * scale for each in found]
            drawn = axes.barh(middles, values, thick * 0.9, color=colours[name], label=name)
            axes.bar_label(drawn, [digits(value) for value in values], padding=3, fontsize="x-small", color=INK)
        _dress(axes, title)
    all_axes[0].set_yticks(range(len(rows)), rows)
    all_axes[0].invert_yaxis()


def _dress(axes: Any, title: str) -> None:
    axes.set_title(title, loc="left", fontsize="medium", color=INK)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.spines["left"].set_color(INK)
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=INK, labelsize="small")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=3))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.margins(x=0.22, y=0.02)
