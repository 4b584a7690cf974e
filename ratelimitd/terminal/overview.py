"""The overview: traffic, store, policy and faults, a line each."""

from collections.abc import Iterator, Sequence
from typing import Final

from rich.text import Text

from .amounts import clock, count, size, span
from .documents import Document, number, part, parts, text, texts

_RATES: Final = (("allowed", "green"), ("denied", "red"), ("shadowed", "yellow"), ("failed", "magenta"))
_USUAL: Final = ("allowed", "denied")
_DECISIONS: Final = (("ok", "OK"), ("over_limit", "over limit"), ("failed", "failed"))
_FAULTS_MOST: Final = 3
"""Lines of faults: a terminal of 24 lines keeps room for the table."""


def overview_lines(overview: Document, address: str) -> list[Text]:
    """Return the lines above a table."""
    replicas = parts(overview, "replicas")
    lines = [_service(overview, address, replicas), _traffic(overview), _store(overview), _policy(overview)]
    faults = [*_faults(overview), *_silent(replicas)]
    if len(faults) > _FAULTS_MOST:
        faults = [*faults[: _FAULTS_MOST - 1], Text(f"and {len(faults) - _FAULTS_MOST + 1} more faults", style="red")]
    return [*lines, *faults]


def _service(overview: Document, address: str, replicas: Sequence[Document]) -> Text:
    replica, now = part(overview, "replica"), number(overview, "time")
    started = number(replica, "started")
    up = span(now - started) if now is not None and started is not None else "?"
    name = f"{len(replicas)} replicas" if replicas else text(replica, "name")
    said = [f"ratelimitd {text(replica, 'software')}", f"up {up}", address]
    return Text.assemble((name, "bold"), " · ", " · ".join(said), " · ", clock(now))


def _traffic(overview: Document) -> Text:
    line = rates_of(overview).append("   requests/s")
    for name, said in _DECISIONS:
        value = number(overview, "decisions", name)
        if value or name == "ok":
            line.append(f"  {count(value)} {said}")
    return line


def rates_of(document: Document) -> Text:
    """Return the hits a second; of those that are rare, what is not 0."""
    line = Text("hits/s")
    for name, style in _RATES:
        value = number(document, "rates", name)
        if value or name in _USUAL:
            line.append(f"  {name} ").append(count(value), style=style if value else "")
    return line


def _store(overview: Document) -> Text:
    store = part(overview, "store")
    ok = text(store, "state") == "ok"
    line = Text.assemble("store  ", text(store, "where") or text(store, "kind"), " ")
    line.append(text(store, "state") or "unknown", style="green" if ok else "red")
    breaker = text(store, "breaker")
    if breaker:
        line.append(", breaker ").append(breaker, style="" if breaker == "closed" else "red")
    if (keys := number(store, "keys")) is not None:
        line.append(f", {count(keys) if keys else 0} keys")
    if (used := number(store, "bytes")) is not None:
        line.append(f", {size(used)}")
        if most := number(store, "max_bytes"):
            line.append(f" of {size(most)}")
    if (said := text(store, "text")) and not ok:
        line.append(f": {said}")
    return line


def _policy(overview: Document) -> Text:
    policy = part(overview, "policy")
    line = Text.assemble("policy ", text(policy, "source") or "none", " ", text(policy, "version")[:12])
    line.append(f", {_plural(number(policy, 'limits'), 'limit')} in {_plural(number(policy, 'domains'), 'domain')}")
    if (versions := len(texts(policy, "versions"))) > 1:
        line.append(f", {versions} versions among the replicas", style="yellow")
    if loaded := number(policy, "loaded"):
        line.append(f", loaded {clock(loaded)}")
    if warnings := len(texts(policy, "warnings")):
        line.append(f", {_plural(warnings, 'warning')}", style="yellow")
    return line


def _plural(amount: float | None, name: str) -> str:
    return f"{amount or 0:.0f} {name}{'' if amount == 1 else 's'}"


def _faults(overview: Document) -> Iterator[Text]:
    for refused in texts(overview, "policy", "refused"):
        yield Text(f"refused: {refused}", style="red")
    for each in parts(overview, "health", "failing"):
        yield Text(f"failing: {text(each, 'component')}: {text(each, 'reason')}", style="red")
    for each in parts(overview, "health", "notes"):
        yield Text(f"note: {text(each, 'component')}: {text(each, 'reason')}", style="yellow")


def _silent(replicas: Sequence[Document]) -> Iterator[Text]:
    """Yield the replicas whose numbers are missing."""
    for each in replicas:
        if text(each, "state") != "ok":
            said = f"{text(each, 'name') or text(each, 'address')}: {text(each, 'state')} {text(each, 'error')}"
            yield Text(f"no numbers of replica {said}".rstrip(), style="red")
