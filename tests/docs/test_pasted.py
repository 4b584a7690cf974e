"""README and docs as a reader pastes them."""

import subprocess
import sys
from pathlib import Path

import pytest

from testkit.blocks import blocks, pages
from testkit.pasted import ROOT, isolation

PAGE_SECONDS = 240.0

REASONS = {
    "installs packages from a registry",
    "needs Docker",
    "needs a cluster",
    "needs the peers",
    "takes more than 30 s",
}
"""Why a block may not be run."""

NOT_RUN = {
    "CONTRIBUTING.md": ["installs packages from a registry"],
    "README.md": ["installs packages from a registry"] * 2,
    "docs/fastapi.md": ["installs packages from a registry"],
    "docs/llm.md": ["installs packages from a registry"],
    "docs/migrating.md": ["needs Docker"],
    "docs/migrating/agent-router.md": ["needs a cluster"] * 2,
    "docs/migrating/envoy-gateway.md": ["needs Docker", *["needs a cluster"] * 2],
    "docs/migrating/istio.md": ["needs a cluster"] * 2,
    "docs/migrating/plain.md": ["needs Docker", "needs a cluster"],
    "docs/operations.md": ["needs a cluster"] * 3,
    "docs/performance.md": ["takes more than 30 s", "needs the peers", "needs the peers"],
    "docs/reliability.md": ["takes more than 30 s"],
}
"""The blocks that are not run, by page and in its order. Nothing checks as a whole what is added here."""

PAGES = {str(path.relative_to(ROOT)): blocks(path.read_text()) for path in pages(ROOT)}


def commands(page):
    return [block for block in PAGES[page] if block.is_command]


def run_here(page):
    return [block for block in commands(page) if block.kind != "not run"]


@pytest.mark.process
@pytest.mark.redis
@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if run_here(page)])
def test_a_page_does_what_it_says_when_it_is_pasted(page, tmp_path):
    """Block after block in an empty folder: each ends as the page says, and prints what the page shows."""
    prefix = isolation()
    if prefix is None:
        pytest.skip("the pages name real ports, and this machine permits no network namespace: run as root")
    (tmp_path / "folder").mkdir()
    command = [*prefix, sys.executable, "-m", "testkit.pasted", str(ROOT / page), str(tmp_path / "folder")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PAGE_SECONDS)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_the_blocks_that_are_not_run_are_these():
    """A block is exempt only by this list, and for one of these reasons."""
    found = {page: [block.note for block in commands(page) if block.kind == "not run"] for page in PAGES}
    assert {page: notes for page, notes in found.items() if notes} == NOT_RUN
    assert {note for notes in found.values() for note in notes} <= REASONS


@pytest.mark.parametrize("page", PAGES)
def test_no_command_hides_behind_another_name_of_a_shell(page):
    """A block of commands has the language sh, so that it is run; bash, shell and console are other names for it."""
    assert {block.language for block in PAGES[page]} <= {"sh", "text", "json", "yaml", "python", "promql", "lua", ""}


def test_the_pages_are_all_there():
    """Those at the top and those in docs."""
    assert {"README.md", "CONTRIBUTING.md", "docs/gateway.md", "docs/troubleshooting.md"} <= PAGES.keys()
    assert all(Path(ROOT / page).is_file() for page in PAGES)
