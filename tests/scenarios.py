"""The failure scenarios that the service is tested against, and the table of them in docs/reliability.md.

A test states its scenario with ``@pytest.mark.scenario("another server becomes the master")``.
``python -m tests.scenarios`` writes the table.
"""

from pathlib import Path
from typing import Final

from testkit.page import replaced

PAGE: Final = Path(__file__).parents[1] / "docs" / "reliability.md"
PART: Final = "scenarios"

SCENARIOS: Final = (
    "Redis is not running when the service starts",
    "Redis dies under load",
    "Redis hangs, is slow, or is unreachable",
    "Redis loses the script",
    "cluster nodes lose the script between pipelined calls",
    "another server becomes the master",
    "slots move to another server",
    "the keys of one request are in several slots",
    "several servers share the keys behind one address",
    "many connections are re-established at once",
    "a reply is lost after the call was executed",
    "a caller cancels while its reply is in flight",
    "connections are lost and re-established for a long time",
    "a key has no expiry",
    "Redis is out of memory",
    "a key contains foreign data, or the state of another algorithm",
    "the clocks of hosts differ",
    "the clock of Redis steps forward or back",
    "a burst at the edge of a window",
    "the reset time fluctuates from answer to answer",
    "one hot key",
    "a client keeps sending requests while it is over limit",
    "only some limits of a request can be decided",
    "costs and limits that are zero, too large, or the largest a number can hold",
    "rates so slow or so fast that rounding could expire a key early or lose requests",
    "numbers that Lua would round, truncate or lose",
    "an invalid policy, at startup or on reload",
    "a policy in a ConfigMap",
    "a policy changes while calls are in flight",
    "a control plane is lost, silent or restarted",
    "a control plane sends a bad policy, again and again",
    "an overlay is missing, faulty, or changes while calls are in flight",
    "the service shuts down",
    "connections that never close, so that new pods receive no calls",
    "clients that flood, reset streams, or do not read",
    "messages that are too large",
    "malformed requests, and requests that match no policy",
    "a caller that chooses the name of a counter",
    "a caller that invents keys",
    "a caller that invents metric series",
    "logs that fill up or contain secrets",
    "probes that report a wrong state",
    "the event loop is blocked",
    "no file descriptor is left",
    "one of several processes dies",
)
"""In the order of the table: Redis, counters and clocks, policies, the process, callers."""


def files(scenario, tests):
    """Return the files that have a test of the scenario, sorted."""
    return sorted({test.partition("::")[0] for test, scenarios in tests.items() if scenario in scenarios})


def table(tests):
    """Return the Markdown table of the page."""
    lines = ["| scenario | tests |", "| --- | --- |"]
    for scenario in SCENARIOS:
        links = ", ".join(f"[{file.removeprefix('tests/')}](../{file})" for file in files(scenario, tests))
        lines.append(f"| {scenario} | {links} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    from tests.collected import collected

    PAGE.write_text(replaced(PAGE.read_text(), PART, table(collected())))
