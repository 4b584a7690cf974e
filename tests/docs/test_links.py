"""Links of README and docs within the project."""

import re

import pytest

from testkit.blocks import pages
from testkit.pasted import ROOT

LINK = re.compile(r"\[[^\]\n]*(?:\n[^\]\n]*)?\]\(([^)\s]+)\)")
PAGES = {path: path.read_text() for path in pages(ROOT)}


def without_code(page):
    return re.sub(r"^ *```.*?^ *```$", "", page, flags=re.MULTILINE | re.DOTALL)


def anchors(page):
    """The anchors of the headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


def broken(path, target):
    """Whether a link of a page leads nowhere."""
    file, _, anchor = target.partition("#")
    place = path.parent / file if file else path
    if not place.exists():
        return True
    return bool(anchor) and place.suffix == ".md" and anchor not in anchors(place.read_text())


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_within_the_project_resolves(path):
    """The file exists, and has the heading."""
    targets = [target for target in LINK.findall(without_code(PAGES[path])) if "://" not in target]
    assert [target for target in targets if broken(path, target)] == []


@pytest.mark.parametrize("target", ["docs/nothing.md", "docs/gateway.md#nothing", "#nothing"])
def test_a_link_that_leads_nowhere_is_found(target):
    """A missing file, a missing heading of another page, and of the page itself."""
    assert broken(ROOT / "README.md", target)


def test_runbooks_link_to_headings_that_exist():
    """The rule file and the dashboard name sections of docs/operations.md."""
    named = set()
    for path in (ROOT / "k8s").rglob("*"):
        if path.is_file():
            named |= set(re.findall(r"docs/[\w-]+\.md(?:#[\w-]+)?", path.read_text()))
    assert named
    assert [target for target in named if broken(ROOT / "README.md", target)] == []
