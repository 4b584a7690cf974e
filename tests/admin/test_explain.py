"""The page that explains how a request is matched."""

import json

import pytest

from ratelimitd.admin import explain_page, explained
from ratelimitd.admin.http import PageRequest
from ratelimitd.limiter import LimitRequest
from ratelimitd.policy import Descriptor, Override, Unit
from ratelimitd.policy_file import parse

POLICY = b"""
domain: shop
identity: {key: api_key, otherwise: address, tiers: {gold: [the-secret-key]}}
descriptors:
  - key: tenant
    value: acme
    descriptors:
      - {key: path, value: /api, rate_limit: {unit: minute, requests_per_unit: 60}}
      - {key: path, value: /files/*, rate_limit: {unit: minute, requests_per_unit: 600}}
  - {key: tenant, rate_limit: {unit: minute, requests_per_unit: 10, name: tenants}}
  - {key: api_key, value: gold, rate_limit: {unit: second, requests_per_unit: 5, replaces: [{name: tenants}]}}
  - {key: free, rate_limit: {unlimited: true}}
  - {key: exempt}
"""
SHOP = parse([("p.yaml", POLICY)])
NUMBERS = "unit=MINUTE requests_per_unit={}, shadow_mode: false, quota_mode: false"


def told(*texts, override=None, domain=b"shop"):
    """The explanation of a request of these descriptors."""
    entries = [tuple(tuple(part.encode().split(b"=")) for part in text.split(",")) for text in texts]
    return explained(SHOP, LimitRequest(domain, tuple(Descriptor(each, override) for each in entries)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "tenant=acme,path=/files/1",
            [
                "tenant=acme took tenant_acme, this value; passed over: tenant",
                "path=/files/1 took path_/files/*, the first wildcard that matches",
                f"shop.tenant_acme.path_/files/* has 600 per minute (p.yaml:9): {NUMBERS.format(600)}",
            ],
        ),
        (
            "tenant=b",
            [
                "tenant=b took tenant, the key with any value",
                f"shop.tenant has 10 per minute (p.yaml:10): {NUMBERS.format(10)}",
            ],
        ),
        (
            "tenant=acme,path=/apo",
            [
                "tenant=acme took tenant_acme, this value; passed over: tenant",
                "path=/apo matches nothing below shop.tenant_acme",
                "nearest there: path_/api, path_/files/*",
                "no limit applies",
            ],
        ),
        (
            "tenant=b,path=/api",
            [
                "tenant=b took tenant, the key with any value",
                "path=/api matches nothing below shop.tenant",
                "shop.tenant has a limit, but only for a descriptor that ends there",
                "no limit applies",
            ],
        ),
        (
            "path=/api,tenant=b",
            [
                "path=/api matches nothing below shop",
                "nearest there: tenant_acme, tenant, api_key_gold",
                "tenant=b would match there: entries match in the order of the descriptor",
                "no limit applies",
            ],
        ),
        (
            "tenant=acme",
            [
                "tenant=acme took tenant_acme, this value; passed over: tenant",
                (
                    "the descriptor ends at shop.tenant_acme, which has no limit; "
                    "one level deeper: path_/api, path_/files/*"
                ),
                "no limit applies",
            ],
        ),
        (
            "exempt=x",
            [
                "exempt=x took exempt, the key with any value",
                "the descriptor ends at shop.exempt, which is exempt: it has no limit and nothing below it",
                "no limit applies",
            ],
        ),
    ],
)
def test_the_path_of_a_descriptor_in_words(text, words):
    """Each branch, where the search ended, and what would have matched."""
    assert told(text)["descriptors"][0]["text"] == words


def test_the_same_as_fields():
    """For a program: the path by its steps, the end by its name."""
    (found,) = told("tenant=acme,path=/apo")["descriptors"]
    found.pop("text")
    assert found == {
        "descriptor": "tenant=acme,path=/apo",
        "ended": "no_branch",
        "path": [{"entry": "tenant=acme", "took": "value", "branch": "tenant_acme", "passed_over": ["tenant"]}],
        "unmatched": ["path=/apo"],
        "nearest": ["path_/api", "path_/files/*"],
        "limits": [],
        "where": [],
        "replaced": [],
    }


def test_each_limit_is_told_with_its_place():
    """File and line for a program, beside the limits that apply; a limit that the request carries has none."""
    tenant, caller = told("tenant=acme,path=/api", "api_key=the-secret-key")["descriptors"]
    assert (tenant["where"], caller["where"]) == ([{"file": "p.yaml", "line": 8}], [{"file": "p.yaml", "line": 11}])
    (found,) = told("tenant=b", override=Override(7, Unit.MINUTE))["descriptors"]
    assert (len(found["limits"]), found["where"]) == (1, [None])
    assert told("free=x")["descriptors"][0]["text"][-1].startswith("shop.free is unlimited (p.yaml:12): unit=UNKNOWN")


def test_a_caller_is_explained_by_his_tier():
    """An API key appears nowhere; an unknown one is dropped, as for a decision."""
    told_of = told("api_key=the-secret-key", "api_key=another-key")
    first, second = told_of["descriptors"]
    assert (first["descriptor"], first["ended"], second["descriptor"]) == ("api_key=gold", "limited", "")
    assert "key" not in json.dumps(told_of).replace("api_key", "")


def test_a_limit_that_another_one_of_the_request_replaces_does_not_apply():
    """It is named apart, and the words say why there is none."""
    tenant, _ = told("tenant=b", "api_key=the-secret-key")["descriptors"]
    assert (tenant["limits"], tenant["replaced"]) == ([], ["tenants"])
    assert tenant["text"][-1] == "no limit applies: another limit of the request replaces it"


def test_an_override_takes_the_place_of_the_tree():
    """Its numbers are the request's, and so is its window."""
    for multiplier, length, window in ((1, "minute", ""), (10, "10 minutes", " unit_multiplier: 10")):
        (found,) = told("nothing=x", override=Override(7, Unit.MINUTE, multiplier))["descriptors"]
        assert found["text"] == [
            "the request carries a limit of its own, which takes the place of the tree",
            f"shop.nothing has 7 per {length}: {NUMBERS.format(7)}{window}",
        ]


def test_an_unknown_domain_is_told_the_known_ones():
    """A typing error in the domain is the most silent of all."""
    assert told("tenant=b", domain=b"shp") == {
        "domain": "shp",
        "known_domain": False,
        "domains": ["shop"],
        "descriptors": [],
    }


async def test_the_page_takes_a_request_as_the_page_of_a_key_does():
    """By query; a mistake is 400 with what to write, and before the first policy it is 503."""

    def refused(_):
        raise ValueError("not a request")

    async def ask(page, query, body=b""):
        answer = await page(PageRequest("POST" if body else "GET", "/admin/explain", {}, {}, body, "", query))
        return answer.status, json.loads(answer.body)

    page = explain_page(refused, lambda: SHOP)
    assert await ask(page, "domain=shop&descriptor=tenant=b") == (200, told("tenant=b"))
    assert (await ask(page, "domain=shop"))[0] == 400
    assert await ask(page, "", b"{") == (400, {"error": "not a request"})
    assert (await ask(explain_page(refused, lambda: None), "domain=shop&descriptor=tenant=b"))[0] == 503
