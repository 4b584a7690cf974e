"""The rules for Alertmanager: they parse, and name alerts that there are and labels that these have."""

import re

import promql_parser
import pytest
import yaml

from tests.k8s.exposed import exposed
from tests.k8s.manifests import FOLDER, ROOT
from tests.k8s.queries import RULES, nodes
from tests.k8s.test_monitoring import ADDED

INHIBIT = yaml.safe_load((FOLDER / "monitoring/inhibit.yaml").read_text())["inhibit_rules"]
MATCHER = re.compile(r'(\w+)(=~|=)"([^"]*)"')
"""The forms of a matcher that the file uses."""

ALERTS = {rule["alert"]: rule for rule in RULES}
NO_DOCTOR = {"RatelimitdOverflow", "RatelimitdMemoryEvicts"}
"""Alerts of the store that are not about Redis."""


def matched(matchers):
    """The alerts that matchers pick."""
    found = set(ALERTS)
    for matcher in matchers:
        name, operator, value = MATCHER.fullmatch(matcher).groups()
        assert name == "alertname"
        picked = value.split("|") if operator == "=~" else [value]
        assert set(picked) <= set(ALERTS), matcher
        found &= set(picked)
    return found


def labels(alert, metrics):
    """The labels of an alert's result."""
    (first, *_) = [
        node
        for node in nodes(promql_parser.parse(ALERTS[alert]["expr"]))
        if isinstance(node, promql_parser.AggregateExpr | promql_parser.VectorSelector)
    ]
    if isinstance(first, promql_parser.AggregateExpr):
        return set(first.modifier.labels)
    return metrics[first.name].labels | ADDED


@pytest.fixture
async def metrics(monkeypatch):
    return exposed(monkeypatch)


async def test_rules_are_of_alerts_and_their_labels(metrics):
    """Each rule names alerts that there are, by labels that all of them have; else it would hide nothing, or all."""
    assert INHIBIT
    for rule in INHIBIT:
        assert set(rule) == {"source_matchers", "target_matchers", "equal"}
        sources, targets = matched(rule["source_matchers"]), matched(rule["target_matchers"])
        assert sources
        assert targets
        for alert in sources | targets:
            assert set(rule["equal"]) <= labels(alert, metrics), (alert, rule)


def test_no_alert_hides_what_hides_it():
    """No two alerts hide each other, so one of them is always seen; what callers notice is never hidden."""
    hides = {
        (source, target)
        for rule in INHIBIT
        for source in matched(rule["source_matchers"])
        for target in matched(rule["target_matchers"])
    }
    assert [pair for pair in hides if pair[::-1] in hides] == []
    assert "RatelimitdCallsFail" not in {target for _, target in hides}


def test_a_killed_redis_is_one_alert():
    """Of the alerts that follow from it, all but that the store is down are hidden."""
    seen = {
        "RatelimitdStoreDown",
        "RatelimitdRedisNodeDown",
        "RatelimitdStoreFailing",
        "RatelimitdFallbackDecisions",
        "RatelimitdSettlementsLost",
    }
    hidden = {
        target
        for rule in INHIBIT
        if matched(rule["source_matchers"]) & seen
        for target in matched(rule["target_matchers"])
    }
    assert seen - hidden == {"RatelimitdStoreDown"}


def test_every_runbook_of_the_store_begins_with_doctor():
    """Each alert about Redis is explained by the command that finds the cause, first of all."""
    (group,) = (
        group
        for group in yaml.safe_load((FOLDER / "monitoring/alerts.yaml").read_text())["groups"]
        if group["name"] == "ratelimitd-store"
    )
    page = (ROOT / "docs/operations.md").read_text()
    alerts = {rule["alert"] for rule in group["rules"]} - NO_DOCTOR
    first = {alert: page.partition(f"### {alert}\n\n")[2].partition("\n")[0] for alert in alerts}
    assert set(first.values()) == {
        "`kubectl exec deployment/ratelimitd -- ratelimitd doctor --config /etc/ratelimitd/policy`"
    }
