"""The alerts and the board with Envoy Gateway's mapping file at PROMETHEUS_ADDR."""

import pytest

from ratelimitd.app import exposition
from ratelimitd.app.exposition import Upstreams
from ratelimitd.observe.metrics import LIMIT_PREFIX
from tests.k8s.exposed import exposed
from tests.k8s.queries import RULES, queries, selectors
from tests.mapper.files import GATEWAY
from tests.mapper.test_exposed import exposed as mapped
from tests.mapper.test_exposed import samples, traffic

EMPTY = {f"{LIMIT_PREFIX}over_limit_with_local_cache"}
"""What the file drops: the panel is empty, as a mapping for it is missing."""


@pytest.fixture
async def names(monkeypatch):
    """Every name on the page: those that the file makes, and ours."""
    unmapped = exposition.exposition
    monkeypatch.setattr(exposition, "exposition", lambda *args: unmapped(*args, upstreams=Upstreams((), lambda: ())))
    ours = {name for name in exposed(monkeypatch) if name.startswith(("ratelimitd_", "process_", "python_"))}
    tallies, counters = traffic()
    counters.redis_error = counters.config_load_error = 1
    return ours | {name.partition("{")[0] for name in samples(mapped(GATEWAY, tallies, counters))}


async def test_the_alerts_and_the_board_ask_for_what_is_left(names):
    """Only the panel of what the over-limit cache denied is empty."""
    asked = {selector.name for query in queries() for selector in selectors(query.parsed)}
    assert {name for name in asked if name.startswith("ratelimit")} - names == EMPTY


async def test_no_alert_is_without_its_metrics(names):
    """An alert on a metric that is not there never fires."""
    text = "\n".join(rule["expr"] for rule in RULES)
    assert [name for name in EMPTY if name in text] == []


async def test_no_query_reads_what_the_file_has_in_another_unit(names):
    """Response times are milliseconds by that file, under a name of seconds."""
    assert [query.where for query in queries() if "ratelimit_service_response_time" in query.text] == []
