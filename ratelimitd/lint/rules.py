"""The table of rules: what each one says, and what to write instead.

The braces of a message or remedy are filled in by the module that finds the fault.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from ratelimitd.config.problems import PolicyError
from ratelimitd.policy_file import Origin


class Rule(NamedTuple):
    """One rule: its name, by which a comment turns it off, and its texts."""

    name: str
    message: str
    remedy: str


class Finding(NamedTuple):
    """A rule that a place breaks; ``fields`` fill in its texts."""

    rule: str
    place: Origin
    fields: dict[str, Any]

    def __str__(self) -> str:
        return RULES[self.rule].message.format(**self.fields)

    @property
    def warning(self) -> PolicyError:
        """The finding as a warning of its file."""
        return PolicyError(*self.place, str(self), self.rule, RULES[self.rule].remedy.format(**self.fields))


Findings = Iterator[Finding]


def finding(rule: str, place: Origin, **fields: Any) -> Finding:
    """Make a finding."""
    return Finding(rule, place, fields)


RULES: Final = {
    rule.name: rule
    for rule in (
        # What is written.
        Rule(
            "second-document",
            "everything after this '---' is ignored: only the first document of a file is read",
            "move it to a file of its own, or remove it",
        ),
        Rule(
            "key-twice",
            "{key} is written again in line {again}, which applies: this one is ignored",
            "keep one of them",
        ),
        Rule("misplaced-key", "'{key}' is ignored {here}{so}", "write it {there}"),
        Rule(
            "denies-all",
            "a limit without 'requests_per_unit' is 0, which denies every request",
            "write requests_per_unit: and the number of requests; to deny all of them, write 0",
        ),
        Rule(
            "option-without-limit",
            "'{key}' applies to the limits of its own descriptor, which has none",
            "write it next to each 'rate_limit' below, or remove it",
        ),
        Rule(
            "unknown-rule",
            "this comment turns off nothing: {why}",
            "write `# lint: off RULE`, with a rule of docs/lint.md",
        ),
        # The tree.
        Rule(
            "no-limits",
            "domain '{domain}' has no limit: every request passes",
            "write a 'rate_limit' in a descriptor, with 'unit' and 'requests_per_unit' inside it",
        ),
        Rule(
            "descriptor-without-limit",
            "descriptor '{descriptor}' has neither a limit nor descriptors below it, and limits nothing",
            "give it a 'rate_limit', or remove it; to exempt it, write rate_limit: {{unlimited: true}}",
        ),
        Rule(
            "shadowed-by-wildcard",
            "no request reaches descriptor '{descriptor}': '{wildcard}' in line {line} takes all its values",
            "move it before the wildcard, narrow the wildcard, or remove it",
        ),
        Rule(
            "taken-by-value",
            "descriptor '{descriptor}' takes its value from '{other}' in line {line}, and has no limit of its own: "
            "a request that ends here is not limited",
            "repeat the limit of line {line} here, or write rate_limit: {{unlimited: true}}",
        ),
        Rule(
            "unknown-replaces",
            "'replaces' names '{name}', and no limit of domain '{domain}' has that name",
            "write the 'name' of a limit that this one replaces, or remove it",
        ),
        Rule(
            "rate-rounded",
            "enforced as the nearest rate that can be counted exactly, which differs by {off:.1e}",
            "write smaller numbers, such as a rate per second for one per year",
        ),
        Rule(
            "budget-refills",
            "{key} on a {algorithm} with a window of {days} days: it refills all the time, so it is no "
            "budget that ends",
            "write fixed_window or sliding_window_counter, or a window of a day or less",
        ),
        Rule(
            "misspelled-key",
            "key '{key}' differs by one letter from '{other}', which Envoy sends",
            "write '{other}', if that is meant",
        ),
        Rule(
            "not-an-address",
            "no client has the address '{value}'",
            "{remedy}",
        ),
        Rule(
            "queue-without-effect",
            "no request waits in the 'queue' of '{descriptor}': {why}",
            "{remedy}",
        ),
        Rule("shared-counter", "{what} can share a counter in Redis with {other}", "{remedy}"),
        # Tiers.
        Rule(
            "no-api-keys",
            "no tier has a key, so every caller is identified by address",
            "list the keys of each tier, or remove 'identity'",
        ),
        Rule(
            "tier-without-limit",
            "{count} of {all} tiers of 'identity' have no descriptor with 'key: {key}' and the tier as its value, "
            "so their API keys have no limit",
            "add a descriptor for each tier, or one without a value for all others",
        ),
        Rule(
            "unknown-tier",
            "no API key has the tier '{tier}', so no request reaches descriptor '{descriptor}'",
            "write a tier of 'identity' that has keys",
        ),
        Rule(
            "never-both",
            "no request reaches descriptor '{descriptor}': 'identity' keeps '{key}' or '{otherwise}' of a request, "
            "never both",
            "write the two on the same level",
        ),
        # Routes and policy together.
        Rule(
            "no-limit-matches",
            "route '{route}' sends {sent}: no limit matches{hint}",
            "add a descriptor with these keys to domain '{domain}', nested in this order, with a limit at the end",
        ),
        Rule(
            "limit-never-sent",
            "no route sends {descriptor}: {count} cannot deny a request",
            "add 'rate_limits' with these keys, in this order, to a route, or remove the descriptor",
        ),
        Rule(
            "callers-without-limit",
            "callers {which} meet no limit on route '{route}'",
            "{remedy}",
        ),
        Rule(
            "cost-above-limit",
            "route '{route}' sends {sent} with {hits} hits, and '{descriptor}' admits at most {most} at once: "
            "every such request is denied",
            "write fewer hits, or a larger {what}",
        ),
        Rule(
            "cost-frees-a-place",
            "route '{route}' sends {sent} with {hits} hits, which '{descriptor}' takes for a report: it frees a place "
            "of 'concurrent' and takes none",
            "remove hits_addend, or send it with apply_on_stream_done: true",
        ),
        Rule(
            "cost-without-charge",
            "route '{route}' reports the cost of {sent} when a stream has ended, nothing asks with 0 before it, and "
            "{what} does not say 'charge': what does not fit is refused and forgotten",
            "write charge: after in the limit, or default_charge: after in domain '{domain}', and "
            "hits_addend: {{number: 0}} on the actions that ask",
        ),
        Rule(
            "unreachable-route",
            "no request reaches route '{route}': the route in line {line} matches all its requests",
            "move it before that route, or remove it",
        ),
        Rule("unused-upstream", "no route names upstream '{upstream}'", "name it in a route, or remove it"),
        Rule(
            "unverified-upstream",
            "the certificate of upstream '{upstream}' is not verified: another host on the way can read and change its "
            "requests",
            "write ca: and the PEM file of its authority, in place of verify: false",
        ),
        # Overlay.
        Rule(
            "overlay-unmatched",
            "this entry is for no {what} of the policy",
            "compare 'domain' and 'path' with /rlconfig, or leave it, if the policy will have one",
        ),
        Rule(
            "overlay-left",
            "this entry does not apply to {limits}: {why}",
            "narrow its 'domain' or 'path', or write what fits; the limit stays as the policy has it",
        ),
    )
}


def shown(text: bytes) -> str:
    """Return text of a policy for a message."""
    return text.decode(errors="replace")
