#!/usr/bin/env python3
"""Display of the tenants: their budgets, how far they were exceeded, and what became of their requests."""

from collections.abc import Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from examples.llm.budgets import Budget
from examples.llm.traffic import Tally

USED, HELD, OVER = ("█", "green"), ("░", "cyan"), ("x", "red")
"""Character and color of each part of a bar; the characters differ for a terminal without colors."""

BAR = 16
"""Width of a bar; with the other columns it fits into 80 characters."""


def screen(
    tallies: Sequence[Tally], budgets: Sequence[Budget], about: Sequence[tuple[str, str]], second: int
) -> RenderableType:
    """Return the whole screen: the addresses, a row per tenant, and the legend."""
    where = Table.grid(padding=(0, 1))
    for name, url in about:
        where.add_row(Text(name, style="dim"), url)
    legend = {"used": USED, "held": HELD, "over-run": OVER}
    parts = [(f"{mark} {name}  ", style) for name, (mark, style) in legend.items()]
    foot = Text.assemble(f"{second} s  ", *parts, ("│ budget", "dim"))
    columns = Text("held: of the budget; worst: highest over-run; cut: streams that callers left", style="dim")
    title = Text.assemble("Budgets of a language model, with ", ("ratelimitd", "bold"))
    end = Text("Ctrl-C stops the demo", style="dim")
    lines = Group(where, "", table(tallies, budgets), "", foot, columns, end)
    return Panel(lines, title=title, box=box.ROUNDED, expand=False)


def table(tallies: Sequence[Tally], budgets: Sequence[Budget]) -> Table:
    """Return a table with a row per tenant."""
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    made.add_column("tenant", no_wrap=True)
    made.add_column("budget, use", min_width=BAR, no_wrap=True)
    made.add_column("held", justify="right", no_wrap=True, style=HELD[1])
    made.add_column("worst", justify="right", no_wrap=True, style=OVER[1])
    for heading in ("answers", "denied", "cut", "failed"):
        made.add_column(heading, justify="right", no_wrap=True)
    for tally, budget in zip(tallies, budgets, strict=True):
        made.add_row(
            Text.assemble(tally.tenant.name, "\n", (tally.tenant.about, "dim")),
            Group(bar(budget), Text(f"{budget.limit:,}/{budget.window} s", style="dim")),
            f"{budget.held / budget.limit:.0%}",
            over_run(budget),
            *(str(count) for count in (tally.answers, tally.denied, tally.cut, tally.failed)),
        )
    return made


def over_run(budget: Budget) -> str:
    """Return how far the budget was exceeded at most."""
    return f"+{max(0, budget.worst - budget.limit) / budget.limit:.0%}"


def bar(budget: Budget, width: int = BAR) -> Text:
    """Return a bar of what is used and held; the budget ends in its middle, which is marked."""
    text = Text()
    within = min(budget.used, budget.limit)
    held = min(budget.held, budget.limit - within)
    for count, (mark, style) in ((within, USED), (held, HELD), (budget.used - within, OVER)):
        room = width - len(text)
        text.append(mark * min(room, round(count * width / (2 * budget.limit))), style)
    text.append(" " * (width - len(text)))
    half = width // 2
    return text[:half] + Text("│", style="dim") + text[half + 1 :]
