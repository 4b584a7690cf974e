"""README's claim is what the table of the page says."""

import pytest

from bench import claim
from bench.builds import INTERPRETED, SHIPPED
from testkit.pasted import ROOT

COLUMNS = ("case", "served by", "calls/s", "calls/s ÷ go", "calls/s ÷ limitador")
ROWS = [
    ("memory, 100,000 keys", SHIPPED, "120,000 (110,000-130,000)", "", "2.01 (1.90-2.10)"),
    ("memory, 100,000 keys", INTERPRETED, "58,000", "", "0.90"),
    ("Redis, 100,000 keys", SHIPPED, "80,000", "5.02", ""),
    ("Redis, 3 descriptors, 100,000 keys", SHIPPED, "50,000", "3.52", ""),
]


def test_the_claim_is_of_the_build_that_users_have():
    """It has the medians of the compiled rows, and their ratios."""
    text = " ".join(claim.claim(claim.table(COLUMNS, ROWS)).split())
    for part in (
        "120,000 calls per second from memory, 2.01 times Limitador",
        "80,000 with Redis, 5.02 times",
        "Redis 50,000, 3.52 times",
    ):
        assert part in text


@pytest.mark.parametrize("missing", [0, 2, 3])
def test_without_a_peer_or_a_row_there_is_no_claim(missing):
    """README keeps what it says; of a table without peers, the claim has no ratio."""
    rows = [row if place != missing else (*row[:3], "", "") for place, row in enumerate(ROWS)]
    assert claim.claim(claim.table(COLUMNS, rows)) is None
    assert claim.claim(claim.table(COLUMNS, ROWS[:missing])) is None
    assert " times " not in claim.claim(claim.table(COLUMNS, ROWS), claim.ALONE)


def test_a_table_is_read_as_it_was_written():
    """The page and the report have the same rows."""
    lines = [COLUMNS, ["---"] * len(COLUMNS), *ROWS]
    page = (
        "<!-- rls -->\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n\n- a note\n<!-- end rls -->\n"
    )
    assert claim.read(page, "rls") == claim.table(COLUMNS, ROWS)


def test_readme_quotes_the_table():
    """The claim is made from the table of docs/performance.md, word for word; without peers it names none."""
    rows = claim.read((ROOT / "docs/performance.md").read_text(), "rls")
    text = claim.claim(rows) or claim.claim(rows, claim.ALONE)
    assert f"<!-- claim -->\n{text}\n<!-- end claim -->" in (ROOT / "README.md").read_text()
