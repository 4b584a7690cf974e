#!/usr/bin/env python3
"""Display of the traffic: bars in a terminal, or one line of text per second."""

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from examples.demo.traffic import Counts, Tally, Tier

ALLOWED, LIMITED, FAILED = "green", "red", "yellow"
BAR = 20
"""Width of a bar; with the other columns it fits into 80 characters."""

HISTORY = 13
"""Seconds of history to show, one character each."""

SPARKS = " ▁▂▃▄▅▆▇█"


def screen(tallies: Sequence[Tally], about: Sequence[tuple[str, str]], second: int) -> RenderableType:
    """Return the whole screen: the addresses, a row per tier, and the legend."""
    where = Table.grid(padding=(0, 1))
    for name, url in about:
        where.add_row(Text(name, style="dim"), url)
    title = Text.assemble("Envoy with ", ("ratelimitd", "bold"))
    foot = Text.assemble(
        f"{second} s  ", ("█ allowed ", ALLOWED), ("█ limited ", LIMITED), ("█ failed", FAILED),
        ("  │ limit; a burst passes it", "dim"),
    )  # fmt: skip
    end = Text("Ctrl-C stops the demo", style="dim")
    return Panel(Group(where, "", table(tallies), foot, end), title=title, box=box.ROUNDED, expand=False)


def table(tallies: Sequence[Tally]) -> Table:
    """Return a table with a row per tier: the last second, and the history of limited requests."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    made.add_column("tier", no_wrap=True)
    made.add_column("allowed", justify="right", no_wrap=True, style=ALLOWED)
    made.add_column("limited", justify="right", no_wrap=True, style=LIMITED)
    made.add_column("last second", min_width=BAR, no_wrap=True)
    made.add_column("limited, past", min_width=HISTORY, no_wrap=True, style=LIMITED)
    for tally in tallies:
        last = tally.latest
        made.add_row(
            label(tally.tier), str(last.allowed), str(last.limited), bar(last, tally.tier.limit), history(tally)
        )
    return made


def label(tier: Tier) -> Text:
    """Return the name and the limit of a tier. Its buckets hold a burst of one second of the rate."""
    return Text.assemble(tier.name, "\n", (f"{tier.limit}/s, bursts of {tier.burst}", "dim"))


def bar(counts: Counts, limit: int, width: int = BAR) -> Text:
    """Return a bar whose middle is the limit, which is marked."""
    text = Text()
    for count, style in zip(counts, (ALLOWED, LIMITED, FAILED), strict=True):
        room = width - len(text)
        text.append("█" * min(room, round(count * width / (2 * limit))), style)
    text.append(" " * (width - len(text)))
    half = width // 2
    mark = Text("│", style="white on " + _colour(text, half) if text.plain[half] != " " else "dim")
    return text[:half] + mark + text[half + 1 :]


def _colour(text: Text, at: int) -> str:
    return next((str(span.style) for span in text.spans if span.start <= at < span.end), "default")


def history(tally: Tally, width: int = HISTORY) -> str:
    """Return a sparkline of the fraction of limited requests per second, the latest on the right."""
    parts = [(each.limited / sum(each) if sum(each) else 0.0) for each in [*tally.seconds][-width:]]
    return "".join(SPARKS[min(len(SPARKS) - 1, -int(-part * (len(SPARKS) - 1) // 1))] for part in parts).rjust(width)


def line(tallies: Sequence[Tally], second: int) -> str:
    """Return the counts of a second as one line of text."""
    return f"{second:3} s  " + "   ".join(
        "{}: {} allowed, {} limited{}".format(
            tally.tier.name,
            tally.latest.allowed,
            tally.latest.limited,
            f", {tally.latest.failed} failed" if tally.latest.failed else "",
        )
        for tally in tallies
    )
