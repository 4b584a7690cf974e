"""The dashboard and the alerts: they ask for what the service exposes, and somebody can read what they mean."""

import re
from collections import Counter

import promql_parser
import pytest

from ratelimitd.limiter.seam import FailureKind
from ratelimitd.policy import OnStoreFailure
from ratelimitd.settings import Settings, load
from tests.k8s.exposed import exposed
from tests.k8s.manifests import DEPLOYMENTS, ROOT, ratelimitd
from tests.k8s.queries import DASHBOARD, PANELS, RULES, VARIABLES, nodes, queries, selectors

ADDED = {"job", "instance"}
"""Labels that Prometheus adds to every series."""

OVER_TIME = {"rate", "irate", "increase"}
"""Functions that mean something of a counter alone."""

OPERATIONS = ROOT / "docs/operations.md"

VALUES = {
    ("ratelimitd_store_failures_total", "kind"): set(FailureKind),
    ("ratelimitd_store_fallbacks_total", "policy"): {policy.name.lower() for policy in OnStoreFailure},
}
"""What labels with few values can hold."""


@pytest.fixture
async def metrics(monkeypatch):
    return exposed(monkeypatch)


async def test_every_metric_exists(metrics):
    """Each metric in a query is one that the service or the proxy exposes."""
    asked = {selector.name for query in queries() for selector in selectors(query.parsed)}

    assert asked
    assert sorted(asked - set(metrics)) == []


async def test_every_label_exists(metrics):
    """Each label that a query matches or groups by is one of the metrics in it."""
    wrong = []
    for query in queries():
        found = selectors(query.parsed)
        some = {label for each in found if each.name in metrics for label in metrics[each.name].labels} | ADDED
        wrong += [
            (query.where, each.name, matcher.name)
            for each in found
            for matcher in each.matchers.matchers
            if each.name in metrics and matcher.name not in metrics[each.name].labels | ADDED
        ]
        wrong += [
            (query.where, label)
            for node in nodes(query.parsed)
            if isinstance(node, promql_parser.AggregateExpr) and node.modifier
            for label in node.modifier.labels
            if label not in some and all(each.name in metrics for each in found)
        ]

    assert wrong == []


async def test_rates_are_of_counters(metrics):
    """No rate is taken of a gauge, and no counter is compared as it stands."""
    wrong = []
    for query in queries():
        rated = {
            argument.vector_selector.name
            for node in nodes(query.parsed)
            if isinstance(node, promql_parser.Call) and node.func.name in OVER_TIME
            for argument in node.args
        }
        known = {each.name: metrics[each.name].kind for each in selectors(query.parsed) if each.name in metrics}
        counters = {name for name, kind in known.items() if kind == "counter"}
        if not query.text.startswith("count by"):
            wrong += [(query.where, name) for name in (rated & set(known)) ^ counters]

    assert wrong == []


def test_values_of_labels_exist():
    """A kind of failure or a policy that a query picks is one there is."""
    picked = [
        (key, value)
        for query in queries()
        for each in selectors(query.parsed)
        for matcher in each.matchers.matchers
        for value in matcher.value.split("|")
        if (key := (each.name, matcher.name)) in VALUES
    ]

    assert picked
    assert [(key, value) for key, value in picked if value not in VALUES[key]] == []


def test_names_are_unique():
    """No two alerts and no two panels share a name."""
    for names in ([rule["alert"] for rule in RULES], [panel["title"] for panel in PANELS]):
        assert [name for name, times in Counter(names).items() if times > 1] == []


def test_every_alert_is_explained():
    """Each alert has a section of its name in docs/operations.md, says so, and no section is of an alert long gone."""
    headings = re.findall(r"^### (Ratelimitd\w+)$", OPERATIONS.read_text(), re.MULTILINE)

    assert sorted(headings) == sorted(rule["alert"] for rule in RULES)
    for rule in RULES:
        assert rule["annotations"]["runbook"] == f"docs/operations.md, {rule['alert']}"
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}


def test_what_an_alert_tells_is_in_its_result():
    """A label that a summary shows is one that the alert's expression keeps."""
    for rule in RULES:
        shown = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        (first, *_) = [
            node
            for node in nodes(promql_parser.parse(rule["expr"]))
            if isinstance(node, promql_parser.AggregateExpr | promql_parser.VectorSelector)
        ]
        if isinstance(first, promql_parser.AggregateExpr):
            assert shown <= set(first.modifier.labels), rule["alert"]


@pytest.mark.parametrize("alert", ["RatelimitdBudgetOverRun", "RatelimitdHoldsExpire"])
def test_shares_are_of_one_limit(alert):
    """Both sides are summed by the limit, so that each limit is compared with itself."""
    (rule,) = (rule for rule in RULES if rule["alert"] == alert)
    sums = [node for node in nodes(promql_parser.parse(rule["expr"])) if isinstance(node, promql_parser.AggregateExpr)]

    assert [sorted(each.modifier.labels) for each in sums] == [["domain", "job", "key1", "key2", "limit"]] * 2


def compared(alert):
    """The numbers of an alert's expression."""
    (rule,) = (rule for rule in RULES if rule["alert"] == alert)
    return {
        node.val for node in nodes(promql_parser.parse(rule["expr"])) if isinstance(node, promql_parser.NumberLiteral)
    }


def test_bounds_are_the_settings():
    """Alerts that warn of a bound know the bound: the budget, the charges in flight, the deployment's memory."""
    settings: Settings = load({}, {})
    memory = ratelimitd(DEPLOYMENTS["deployment.yaml"])["resources"]["limits"]["memory"]

    assert {0.8, int(memory.removesuffix("Mi")) << 20} == compared("RatelimitdMemory")
    assert 0.8 * settings.store_in_flight in compared("RatelimitdStoreOverloaded")
    assert settings.store_budget < min(compared("RatelimitdLoopLag"))
    assert settings.store_budget in compared("RatelimitdCallsSlow")
    assert all(0 < bound < settings.store_budget for bound in compared("RatelimitdStoreSlow") - {0.99})


@pytest.mark.parametrize(
    ("alert", "metrics"),
    [
        ("RatelimitdPolicyRefused", {"ratelimitd_policy_refused"}),
        ("RatelimitdOverlayRefused", {"ratelimitd_overlay_refused"}),
        ("RatelimitdNoLimits", {"ratelimitd_policy_rules", "ratelimitd_policy_generation"}),
        ("RatelimitdPoliciesDiffer", {"ratelimitd_policy_info"}),
        ("RatelimitdControlPlaneLost", {"ratelimitd_xds_connected"}),
    ],
)
def test_alerts_of_the_policy_go_by_its_state(alert, metrics):
    """By gauges, so that each holds as long as what it tells of; a counter of refusals would end by itself."""
    (rule,) = (rule for rule in RULES if rule["alert"] == alert)
    parsed = promql_parser.parse(rule["expr"])

    assert {selector.name for selector in selectors(parsed)} == metrics
    assert not any(isinstance(node, promql_parser.Call) for node in nodes(parsed))


def test_grafana_takes_the_dashboard():
    """Panels and queries ask the data source that is chosen; ids are unique, and no panel lies on another."""
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    taken = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for at in [panel["gridPos"]]
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]

    assert VARIABLES[0]["name"] == "datasource"
    assert all(each["datasource"] == chosen for panel in PANELS for each in (panel, *panel["targets"]))
    assert all(each["datasource"] == chosen for each in VARIABLES if each["type"] == "query")
    assert len(ids) == len(set(ids))
    assert len(taken) == len(set(taken))
    assert all(0 <= x < 24 for x, _ in taken)


def test_variables_are_defined():
    """Each variable in a query is one of the dashboard, or Grafana's own."""
    used = {name for query in queries() for name in re.findall(r"\$\{?(\w+)", query.text)}

    assert used <= {each["name"] for each in VARIABLES} | {"__rate_interval"}
