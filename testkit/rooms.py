"""The picture of the rooms in docs/architecture.md, drawn from the imports: ``python -m testkit.rooms`` writes it.

A room is a package or module directly below ``ratelimitd``. The rows are the layers of the import contract. An arrow
means that one room imports another; an arrow that a longer path implies is left out.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

import grimp

ROOT: Final = Path(__file__).parents[1]
PICTURE: Final = ROOT / "docs" / "rooms.svg"
PACKAGE: Final = "ratelimitd"

WIDTH, ROW, BOX, HEIGHT = 900, 74, 132, 34
INK, LINE, FILL, FACE = "#1f2933", "#9aa5b1", "#f5f7fa", "ui-sans-serif, system-ui, sans-serif"

Arrows = Mapping[str, frozenset[str]]


def layers() -> list[list[str]]:
    """Return the rooms of each row, highest first, as the import contract lists them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = (each for each in contracts if each["type"] == "layers")
    return [[room.strip() for room in row.split("|")] for row in contract["layers"]]


def arrows() -> Arrows:
    """Return which rooms each room imports."""
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    rooms = {name for row in layers() for name in row}
    found: dict[str, set[str]] = {room: set() for room in rooms}
    for module in graph.modules:
        room = _room(module)
        for imported in graph.find_modules_directly_imported_by(module):
            if room in rooms and _room(imported) in rooms - {room}:
                found[room].add(_room(imported))
    return {room: frozenset(imported) for room, imported in found.items()}


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def reduced(found: Arrows) -> Arrows:
    """Leave out each arrow to a room that a longer path leads to."""

    def below(room: str) -> frozenset[str]:
        return found[room].union(*(below(imported) for imported in found[room]))

    return {
        room: frozenset(each for each in imported if not any(each in below(other) for other in imported - {each}))
        for room, imported in found.items()
    }


def drawn(rows: Sequence[Sequence[str]], found: Arrows) -> str:
    """Return the picture as SVG, the same text for the same rooms."""
    middle = {
        room: (WIDTH * (2 * column + 1) / (2 * len(row)), 30 + number * ROW)
        for number, row in enumerate(rows)
        for column, room in enumerate(row)
    }
    height = 60 + (len(rows) - 1) * ROW
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="{FACE}" font-size="14">',
        "<title>The rooms of ratelimitd, and which imports which</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        *_lines(middle, found),
        *(_box(room, *middle[room]) for row in rows for room in row),
        "</svg>\n",
    ])  # fmt: skip


def _lines(middle: Mapping[str, tuple[float, float]], found: Arrows) -> Iterator[str]:
    for room, imported in sorted(found.items()):
        x, y = middle[room]
        for each in sorted(imported):
            to_x, to_y = middle[each]
            start, end = y + HEIGHT / 2, to_y - HEIGHT / 2
            bend = (end - start) / 2
            path = f"M{x:g} {start:g} C{x:g} {start + bend:g} {to_x:g} {end - bend:g} {to_x:g} {end:g}"
            yield f'<path d="{path}" fill="none" stroke="{LINE}"/>'
            yield f'<path d="M{to_x - 4:g} {end - 7:g} L{to_x + 4:g} {end - 7:g} L{to_x:g} {end:g} Z" fill="{LINE}"/>'


def _box(room: str, x: float, y: float) -> str:
    corner = f'x="{x - BOX / 2:g}" y="{y - HEIGHT / 2:g}" width="{BOX}" height="{HEIGHT}" rx="6"'
    text = f'<text x="{x:g}" y="{y + 5:g}" text-anchor="middle" fill="{INK}">{escape(room)}</text>'
    return f'<rect {corner} fill="{FILL}" stroke="{INK}"/>{text}'


if __name__ == "__main__":
    PICTURE.write_text(drawn(layers(), reduced(arrows())))
