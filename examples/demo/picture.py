#!/usr/bin/env python3
"""The demo as a moving picture: the screens of its seconds as one SVG, which changes them once per second."""

import io
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from rich.color import ColorType
from rich.console import Console, RenderableType
from rich.segment import Segment
from rich.style import Style

COLUMNS = 80
CELL, ROW, BASE, MARGIN = 8.4, 18, 14, 10
"""Size of a character at 14 px, in any monospaced font: ``textLength`` fits the text into it."""

INK, PAPER, FAINT = "#d0d4dc", "#16191f", "#8a919e"
COLORS = {"green": "#3fb950", "red": "#f0605a", "yellow": "#e3b341", "white": "#ffffff"}

STYLE = """
text{{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;fill:{ink};white-space:pre}}
g.s{{visibility:hidden;animation:s {seconds}s step-end infinite}}
g.s:last-child{{visibility:visible}}
@keyframes s{{0%{{visibility:visible}}{share:.3f}%{{visibility:hidden}}100%{{visibility:hidden}}}}
"""

Screen = list[list[Segment]]

Row = tuple[int, list[Segment]]


def shot(renderable: RenderableType) -> Screen:
    """Return a screen as lines of styled text."""
    console = Console(width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="standard")
    return console.render_lines(renderable, console.options.update(height=None), pad=False)


def picture(screens: Sequence[Screen]) -> str:
    """Return the SVG. Where nothing moves, it shows the last screen."""
    width, height = COLUMNS * CELL + 2 * MARGIN, max(map(len, screens)) * ROW + 2 * MARGIN
    count = len(screens)
    still = [row for row in enumerate(screens[0]) if all(row[1] == other[row[0]] for other in screens)]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img" xml:space="preserve">',
        "<title>make demo: Envoy with ratelimitd, and callers of three tiers</title>",
        f"<style>{STYLE.format(ink=INK, seconds=count, share=100 / count)}</style>",
        f'<rect width="100%" height="100%" rx="8" fill="{PAPER}"/>',
        *_lines(still),
        "<g>",
        *(
            f'<g class="s" style="animation-delay:{number - count}s">{"".join(_lines(_moving(screen, still)))}</g>'
            for number, screen in enumerate(screens)
        ),
        "</g></svg>\n",
    ]
    return "\n".join(parts)


def _moving(screen: Screen, still: Sequence[Row]) -> list[Row]:
    return [row for row in enumerate(screen) if row not in still]


def _lines(rows: Sequence[Row]) -> Iterator[str]:
    for row, line in rows:
        column = 0
        for segment in Segment.simplify(line):
            length = len(segment.text)
            if segment.text.strip():
                yield from _text(segment, column, row)
            column += length


def _text(segment: Segment, column: int, row: int) -> Iterator[str]:
    style = segment.style or Style()
    x, y, length = MARGIN + column * CELL, MARGIN + row * ROW, len(segment.text) * CELL
    if back := _color(style.bgcolor):
        yield f'<rect x="{x:.1f}" y="{y}" width="{length:.1f}" height="{ROW}" fill="{back}"/>'
    fill = _color(style.color) or (FAINT if style.dim else "")
    marks = (f' fill="{fill}"' if fill else "") + (' font-weight="bold"' if style.bold else "")
    yield f'<text x="{x:.1f}" y="{y + BASE}" textLength="{length:.1f}"{marks}>{escape(segment.text)}</text>'


def _color(color: object) -> str:
    named = getattr(color, "name", "")
    return "" if getattr(color, "type", ColorType.DEFAULT) is ColorType.DEFAULT else COLORS.get(named, INK)
