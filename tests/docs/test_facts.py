"""What README and docs quote is as it is in its source."""

import re
import xml.etree.ElementTree as ET

import pytest

from bench.builds import OURS
from bench.claim import read
from examples.demo.traffic import TIERS
from ratelimitd.limiter import FailureKind, ReasonKind
from testkit.blocks import pages
from testkit.pasted import ROOT
from tests.k8s.exposed import exposed

README = (ROOT / "README.md").read_text()
PERFORMANCE = (ROOT / "docs/performance.md").read_text()
MIGRATING = (ROOT / "docs/migrating.md").read_text()


def test_readme_quotes_the_idle_sidecar():
    """Memory of ours with counters in memory, and of envoyproxy/ratelimit."""
    rows = {(row["counters"], row["served by"]): row["MiB"].partition(" ")[0] for row in read(PERFORMANCE, "idle")}
    shown = next(rows["in memory", build] for build in OURS if ("in memory", build) in rows)
    assert f"{shown} MiB when idle" in README
    assert f"envoyproxy/ratelimit has {rows['in Redis', 'go']} MiB" in README


async def test_every_metric_of_ours_in_the_table_of_panels_exists(monkeypatch):
    """The right column of docs/migrating.md names what a scrape may hold."""
    table = MIGRATING.partition("| your panel | ours |")[2].partition("\n\n")[0]
    named = set(
        re.findall(r"`(ratelimit\w+|process_\w+)`", "\n".join(row.split("|")[2] for row in table.splitlines()[2:]))
    )

    assert len(named) > 10
    assert (
        named
        - exposed(monkeypatch).keys()
        - {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"}
        == set()
    )


async def test_what_stays_the_same_exists(monkeypatch):
    """The names of envoyproxy/ratelimit in the rows that say "the same" are exposed."""
    rows = [row.split("|") for row in MIGRATING.splitlines() if row.startswith("| `ratelimit_service")]
    named = set()
    for _, panel, ours, _ in rows:
        if ours.strip().startswith("the same"):
            first, *ends = re.findall(r"`((?:ratelimit)?_\w+|ratelimit\w+)`", panel)
            stem = "ratelimit_service_rate_limit"
            named |= {first, *(end if end.startswith("ratelimit") else stem + end for end in ends)}

    assert "ratelimit_service_rate_limit_shadow_mode" in named
    assert "ratelimit_service_response_time_seconds_bucket" in named
    assert named - exposed(monkeypatch).keys() == set()


def test_every_reason_and_every_kind_of_failure_is_explained():
    """docs/policies.md lists them, under the names that logs, metrics and responses use."""
    section = (ROOT / "docs/policies.md").read_text().partition("## Why a request was denied")[2].partition("\n## ")[0]

    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == set(ReasonKind)
    kinds = section.partition("the kind of failure (")[2].partition(")")[0]
    assert set(re.findall(r"`(\w+)`", kinds)) == set(FailureKind)


def test_the_files_of_the_fastapi_page_are_the_examples():
    """The page saves what examples/fastapi has, but for the path of the schema, which is one inside the repository."""
    saved = re.findall(
        r"cat > (\S+) <<'END'\n(.*?)^END$", (ROOT / "docs/fastapi.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert [name for name, _ in saved] == ["app.py", "gateway.yaml"]
    for name, text in saved:
        example = (ROOT / "examples/fastapi" / name).read_text()
        assert text == re.sub(r"^# yaml-language-server: .*\n", "", example, flags=re.MULTILINE)


def test_the_picture_of_the_demo_shows_its_tiers():
    """docs/demo.svg is well-formed, and each screen has a row for each tier; `make picture` draws it anew."""
    space = "{http://www.w3.org/2000/svg}"
    root = ET.parse(ROOT / "docs/demo.svg").getroot()
    screens = [group for group in root.iter(f"{space}g") if group.get("class") == "s"]

    assert len(screens) > 10
    for screen in screens:
        shown = " ".join(text.text or "" for text in screen.iter(f"{space}text"))
        assert all(tier.name in shown for tier in TIERS)
    labels = " ".join(text.text or "" for text in root.iter(f"{space}text"))
    assert all(f"{tier.limit}/s, bursts of {tier.burst}" in labels for tier in TIERS)


def test_the_plot_of_budgets_shows_the_table_beside_it():
    """docs/llm-budget.svg has the designs of the table of docs/llm.md, and their numbers."""
    drawn = (ROOT / "docs/llm-budget.svg").read_text()
    page = (ROOT / "docs/llm.md").read_text()
    rows = re.findall(r"^  (\S+) .* (\S+%) +(\S+%) +(\S+%)$", page, re.MULTILINE)

    assert len(rows) == 4
    for name, used, mean, worst in rows:
        assert f"<!-- {name} -->" in drawn
        assert f"<!-- {used} used, over-run {mean}, worst {worst} -->" in drawn


@pytest.mark.parametrize("path", pages(ROOT), ids=lambda path: path.name)
def test_upstream_is_the_app_behind_the_proxy(path):
    """Pages call envoyproxy/ratelimit by its name, since `upstream` is a key of the gateway file."""
    other = (
        r"\bas (?:in )?upstream\b|\b[Uu]pstream's (?:default|names?|keys?|behavior|Redis|own|contract)\b|Upstream does"
    )
    if path.name != "CHANGELOG.md":
        assert re.findall(other, path.read_text()) == []
