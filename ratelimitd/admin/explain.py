"""How a request is matched, as JSON and in words: for the admin API, and for ``ratelimitd check --explain``."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from ratelimitd.descriptor_text import show
from ratelimitd.limiter import LimitRequest
from ratelimitd.policy import (
    EXAMINED,
    Domain,
    Ended,
    Entry,
    Explanation,
    Limit,
    Policy,
    Step,
    Took,
    Where,
    amount_in_words,
    explain,
    identify,
    node_at,
    rule_name,
    where_fields,
    where_of,
)

from .http import PageHandler, PageRequest, PageResponse, as_json
from .key_query import Read, key_request
from .rlconfig import line

TOOK: Final = {
    Took.VALUE: "this value",
    Took.WILDCARD: "the first wildcard that matches",
    Took.KEY: "the key with any value",
}

DOMAINS: Final = 20
"""Names of domains shown in place of an unknown one: a screenful."""


def explain_page(read: Read, active: Callable[[], Policy | None]) -> PageHandler:
    """Make a handler that explains how the request that its query or body names is matched; it charges nothing."""

    async def handler(request: PageRequest) -> PageResponse:
        policy = active()
        try:
            asked = key_request(request, read)
        except ValueError as error:
            return as_json(400, {"error": str(error).encode(errors="backslashreplace").decode()})
        if policy is None:
            return as_json(503, {"error": "no policy is loaded yet"})
        return as_json(200, explained(policy, asked))

    return handler


def explained(policy: Policy, request: LimitRequest) -> dict[str, Any]:
    """Explain a request: per descriptor its path through the tree, its limits, and the same in words."""
    domain = policy.domains.get(request.domain)
    if domain is None:
        known = sorted(map(_text, policy.domains))[:DOMAINS]
        return {"domain": _text(request.domain), "known_domain": False, "domains": known, "descriptors": []}
    descriptors = request.descriptors
    if domain.identity is not None:
        descriptors = tuple(identify(domain.identity, b"", each).descriptor for each in descriptors)
    found = [explain(domain, each, EXAMINED // len(descriptors)) for each in descriptors]
    replaced = frozenset[str]().union(*(limit.replaces for each in found for limit in each.limits))
    return {
        "domain": _text(domain.name),
        "known_domain": True,
        "descriptors": [
            _descriptor(policy, domain, each.entries, explanation, replaced)
            for each, explanation in zip(descriptors, found, strict=True)
        ],
    }


def _descriptor(
    policy: Policy, domain: Domain, entries: Sequence[Entry], explanation: Explanation, replaced: frozenset[str]
) -> dict[str, Any]:
    limits = [each for each in _placed(policy, domain, explanation) if each[0].name not in replaced]
    rule = rule_name(domain.name, explanation.path)
    return {
        "descriptor": show(tuple(entries)),
        "ended": str(explanation.ended),
        "path": [_step(step) for step in explanation.steps],
        "unmatched": [show((entry,)) for entry in explanation.rest],
        "nearest": [_text(name) for name in explanation.nearest],
        "limits": [line(rule, limit).rstrip("\n") for limit, _ in limits],
        "where": [where_fields(where) for _, where in limits],
        "replaced": sorted({limit.name for limit in explanation.limits} & replaced),
        "text": list(_lines(explanation, rule, [_limit(rule, *each) for each in limits])),
    }


def _placed(policy: Policy, domain: Domain, explanation: Explanation) -> list[tuple[Limit, Where | None]]:
    """Return the limits of an explanation, each with where it is written."""
    node = node_at(domain, explanation.path) if explanation.ended is Ended.LIMITED else None
    if node is None:
        return [(limit, None) for limit in explanation.limits]
    return [(limit, where_of(policy, node, index)) for index, limit in enumerate(explanation.limits)]


def _limit(rule: str, limit: Limit, where: Where | None) -> str:
    """Return a limit in words, then as /rlconfig writes it."""
    words = "is unlimited" if limit.rate is None else f"has {amount_in_words(limit)}"
    place = "" if where is None else f" ({where})"
    return line(f"{rule} {words}{place}", limit).rstrip("\n")


def _step(step: Step) -> dict[str, Any]:
    return {
        "entry": show((step.entry,)),
        "took": str(step.took),
        "branch": _text(step.name),
        "passed_over": [_text(name) for name in step.passed_over],
    }


def _lines(explanation: Explanation, rule: str, limits: Sequence[str]) -> Iterator[str]:
    for step in explanation.steps:
        others = f"; passed over: {_names(step.passed_over)}" if step.passed_over else ""
        yield f"{show((step.entry,))} took {_text(step.name)}, {TOOK[step.took]}{others}"
    yield from ENDS[explanation.ended](explanation, rule)
    if limits:
        yield from limits
    else:
        yield (
            "no limit applies"
            if not explanation.limits
            else "no limit applies: another limit of the request replaces it"
        )


def _no_branch(explanation: Explanation, rule: str) -> Iterator[str]:
    yield f"{show(explanation.rest[:1])} matches nothing below {rule}"
    if explanation.nearest:
        yield f"nearest there: {_names(explanation.nearest)}"
    if explanation.limited_above:
        yield f"{rule} has a limit, but only for a descriptor that ends there"
    if explanation.later:
        yield f"{show(explanation.later)} would match there: entries match in the order of the descriptor"


def _no_limits(explanation: Explanation, rule: str) -> Iterator[str]:
    if explanation.nearest:
        yield f"the descriptor ends at {rule}, which has no limit; one level deeper: {_names(explanation.nearest)}"
    else:
        yield f"the descriptor ends at {rule}, which is exempt: it has no limit and nothing below it"


def _overridden(_: Explanation, __: str) -> Iterator[str]:
    yield "the request carries a limit of its own, which takes the place of the tree"


ENDS: Final[dict[Ended, Callable[[Explanation, str], Iterator[str]]]] = {
    Ended.LIMITED: lambda _, __: iter(()),
    Ended.OVERRIDDEN: _overridden,
    Ended.NO_BRANCH: _no_branch,
    Ended.NO_LIMITS: _no_limits,
}


def _names(names: Sequence[bytes]) -> str:
    return ", ".join(map(_text, names))


def _text(name: bytes) -> str:
    return name.decode(errors="backslashreplace")
