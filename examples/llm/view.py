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

USED, HELD, OVER = "green", "cyan", "red"
BAR = 18
"""Width of a bar; with the other columns it fits into 80 characters."""


def screen(
    tallies: Sequence[Tally], budgets: Sequence[Budget], about: Sequence[tuple[str, str]], second: int
) -> RenderableType:
    """Return the whole screen: the addresses, a row per tenant, and the legend."""
    where = Table.grid(padding=(0, 1))
    for name, url in about:
        where.add_row(Text(name, style="dim"), url)
    foot = Text.assemble(
        f"{second} s  ", ("█ used ", USED), ("█ held ", HELD), ("█ over-run", OVER), ("  │ budget", "dim")
    )
    title = Text.assemble("Budgets of a language model, with ", ("ratelimitd", "bold"))
    end = Text("Ctrl-C stops the demo", style="dim")
    return Panel(Group(where, "", table(tallies, budgets), foot, end), title=title, box=box.ROUNDED, expand=False)


def table(tallies: Sequence[Tally], budgets: Sequence[Budget]) -> Table:
    """Return a table with a row per tenant."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    made.add_column("tenant", no_wrap=True)
    made.add_column("budget, use", min_width=BAR, no_wrap=True)
    made.add_column("worst", justify="right", no_wrap=True, style=OVER)
    for heading in ("answers", "denied", "cut", "failed"):
        made.add_column(heading, justify="right", no_wrap=True)
    for tally, budget in zip(tallies, budgets, strict=True):
        made.add_row(
            Text.assemble(tally.tenant.name, "\n", (tally.tenant.about, "dim")),
            Group(bar(budget), Text(f"{budget.limit:,} in {budget.window} s", style="dim")),
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
    for count, style in ((within, USED), (held, HELD), (budget.used - within, OVER)):
        room = width - len(text)
        text.append("█" * min(room, round(count * width / (2 * budget.limit))), style)
    text.append(" " * (width - len(text)))
    half = width // 2
    return text[:half] + Text("│", style="dim") + text[half + 1 :]
