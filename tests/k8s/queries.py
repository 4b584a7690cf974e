"""The queries of the dashboard and of the alerts, parsed by the grammar of PromQL."""

import json
import re
from typing import Any, Final, NamedTuple

import promql_parser
import yaml

from tests.k8s.manifests import FOLDER

RULES: Final = [
    rule
    for group in yaml.safe_load((FOLDER / "monitoring/alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD: Final = json.loads((FOLDER / "monitoring/dashboard.json").read_text())
VARIABLES: Final = DASHBOARD["templating"]["list"]
PANELS: Final = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

LABEL_VALUES: Final = re.compile(r"label_values\((.+), (\w+)\)")
"""Grafana's own question: the values of a label of a selector."""


class Query(NamedTuple):
    """A query and where it stands."""

    where: str
    text: str

    @property
    def parsed(self):
        return promql_parser.parse(self.text.replace("$__rate_interval", "1m"))


def queries():
    """All of them."""
    for rule in RULES:
        yield Query(rule["alert"], rule["expr"])
    for panel in PANELS:
        for target in panel["targets"]:
            yield Query(panel["title"], target["expr"])
    for variable in VARIABLES:
        if variable["type"] == "query":
            found = LABEL_VALUES.fullmatch(variable["query"]["query"])
            assert found is not None, variable
            yield Query(variable["name"], f"count by ({found[2]}) ({found[1]})")


def nodes(expression):
    """All parts of an expression."""
    found: list[Any] = []
    promql_parser.walk(expression, lambda node: found.append(node) or True)
    return found


def selectors(expression):
    return [node for node in nodes(expression) if isinstance(node, promql_parser.VectorSelector)]
