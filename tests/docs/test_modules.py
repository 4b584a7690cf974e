"""docs/architecture.md names the modules of the proxy."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("room", "title"), [("http1", "HTTP/1.1"), ("gateway", "The gateway")])
def test_each_module_is_in_the_table_of_its_room(room, title):
    """Once, and no module that is gone."""
    text = (ROOT / "docs/architecture.md").read_text()
    section = text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    first = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    named = [name.rstrip("/") for cell in first for name in re.findall(r"`([\w/]+)`", cell)]
    folder = ROOT / "ratelimitd" / room
    there = [path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    assert sorted(named) == sorted(name for name in there if name != "__init__")
