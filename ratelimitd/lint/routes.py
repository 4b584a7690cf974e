"""The routes of a gateway file as the lint sees them: what each sends, with lines.

The readers of ``gateway`` check the file; this one expects a valid file, and takes from it what a proxy has no use for:
lines, and entries without a request. It reads the actions that only Envoy supports too.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from ratelimitd.config.yaml_nodes import YamlList, YamlMap, YamlNode, YamlScalar, is_null, resolve, value_of
from ratelimitd.policy import LEASE

NAME: Final = "ratelimitd"
"""Default name of a gateway, the value of ``source_cluster``."""


class SentEntry(NamedTuple):
    """The entry of one action.

    Attributes:
        value: None: any, from the request.
        needs: the header or query parameter whose value it is, as a phrase; empty for none.
        skipped: without it only this entry is omitted, not the descriptor.
        sometimes: whether the descriptor is sent depends on more of the request.
    """

    key: bytes
    value: bytes | None = None
    needs: str = ""
    skipped: bool = False
    sometimes: bool = False


class Item(NamedTuple):
    """An item of a route's ``rate_limits``: one descriptor.

    Attributes:
        entries: None if only Envoy knows them.
        own_limit: it brings its limit along, which overrides the policy.
        hits: its cost, if that is a fixed number.
        reports: whether it is sent when the stream has ended (``apply_on_stream_done``).
        leased: it always has an entry ``LEASE``, which is not among the entries, so it settles.
    """

    line: int
    entries: tuple[SentEntry, ...] | None
    own_limit: bool
    hits: int = 1
    reports: bool = False
    leased: bool = False

    def __str__(self) -> str:
        return sent(self.entries or ())


class Conditions(NamedTuple):
    """Which requests a route matches.

    Attributes:
        pattern: in lower case if case does not count, of a path without its last slash if that does not count.
        others: methods, hosts and headers, as written; empty for none.
        loose: which of ``LOOSE`` hold.
    """

    kind: str
    pattern: str
    others: tuple[object, ...]
    loose: frozenset[str] = frozenset()


CASE: Final = "ignore_case"
SLASH: Final = "ignore_trailing_slash"
LOOSE: Final = (frozenset[str](), frozenset((CASE,)), frozenset((SLASH,)), frozenset((CASE, SLASH)))
"""The flags that widen a match of paths, in all combinations."""


class Route(NamedTuple):
    """A route.

    Attributes:
        present: headers that every request of the route has, as phrases; of those that earlier routes make certain, the
            ones that its items need.
    """

    line: int
    name: str
    upstream: str
    match: Conditions
    items: tuple[Item, ...]
    present: frozenset[str]


class GatewayText(NamedTuple):
    """A gateway file.

    Attributes:
        domain: of its requests; empty: the only one.
        upstreams: the line of each.
        unverified: the line of ``verify: false`` of each upstream that has it.
    """

    domain: bytes
    upstreams: Mapping[str, int]
    unverified: Mapping[str, int]
    routes: tuple[Route, ...]


def sent(entries: tuple[SentEntry, ...]) -> str:
    """Return entries as text, such as ``(endpoint=login, remote_address)``."""
    texts = (
        entry.key if entry.value is None else b"%b=%b" % (entry.key, entry.value) if entry.value else entry.key
        for entry in entries
    )
    return f"({', '.join(text.decode(errors='replace') for text in texts)})"


def read_routes(root: YamlNode | None) -> GatewayText:
    """Read a gateway file."""
    written = value_of(root, "upstreams")
    upstreams, unverified = _upstreams(written), dict(_unverified(written))
    name = _text(root, "name") or NAME
    default = next(iter(upstreams), "") if len(upstreams) == 1 else ""
    routes: list[Route] = []
    catching: dict[Conditions, set[str]] = {}
    for node in _items(value_of(root, "routes")):
        route = _route(node, name, default)
        needed = {entry.needs for item in route.items for entry in item.entries or ()}
        caught = [catching[each] & needed for each in wider(route.match) if each in catching]
        routes.append(route._replace(present=route.present.union(*caught)))
        for header, match in _catches_absent(node, route):
            catching.setdefault(match, set()).add(header)
    return GatewayText(_text(root, "domain").encode(), upstreams, unverified, tuple(routes))


def _upstreams(node: YamlNode | None) -> dict[str, int]:
    pairs = node.pairs if isinstance(node, YamlMap) else []
    return {key.text: key.line for key, _ in pairs if isinstance(key, YamlScalar)}


def _unverified(node: YamlNode | None) -> Iterator[tuple[str, int]]:
    for key, upstream in node.pairs if isinstance(node, YamlMap) else []:
        verify = value_of(upstream, "verify")
        if isinstance(key, YamlScalar) and verify is not None and _is_false(verify):
            yield key.text, verify.line


def _route(node: YamlNode, gateway: str, default: str) -> Route:
    match = value_of(node, "match")
    kind = next((kind for kind in ("prefix", "path", "regex") if value_of(match, kind) is not None), "prefix")
    pattern = _text(match, kind) or "/"
    others = tuple(_plain(value_of(match, key)) for key in ("methods", "hosts", "headers"))
    upstream = _text(node, "upstream") or default
    items = tuple(_item(item, gateway, upstream) for item in _items(value_of(node, "rate_limits")))
    present = frozenset(header for header, positive in _header_matches(match) if positive)
    loose = frozenset(key for key in (CASE, SLASH) if _flag(match, key))
    conditions = _conditions(kind, pattern, others if any(others) else (), loose)
    return Route(node.line, _text(node, "name") or pattern, upstream, conditions, items, present)


def _plain(node: YamlNode | None) -> object:
    """Return a node as a value that can be compared, without lines."""
    if isinstance(node, YamlMap):
        return tuple((_plain(key), _plain(value)) for key, value in node.pairs)
    if isinstance(node, YamlList):
        return tuple(map(_plain, node.items))
    return node.text if isinstance(node, YamlScalar) and not is_null(node) else ""


def _header_matches(match: YamlNode | None) -> Iterator[tuple[str, bool]]:
    """Yield the header of each condition on headers, and whether the condition requires that it is present."""
    for condition in _items(value_of(match, "headers")):
        inverted = _flag(condition, "invert") or _flag(condition, "invert_match")
        absent = any(_is_false(value_of(condition, key)) for key in ("present", "present_match"))
        text = isinstance(condition, YamlMap) and any(
            isinstance(key, YamlScalar) and key.text not in _PRESENCE for key, _ in condition.pairs
        )
        if not _flag(condition, "treat_missing_header_as_empty"):
            yield _header(_text(condition, "name")), text or inverted == absent


_PRESENCE: Final = frozenset(("name", "present", "present_match", "invert", "invert_match"))
"""Keys of a condition on a header without its value; a missing header satisfies no condition on a value."""


def wider(match: Conditions) -> Iterator[Conditions]:
    """Yield the conditions that hold for all requests of a route, as far as a comparison of texts shows it."""
    kind, pattern, _, loose = match
    least = pattern.rstrip("/") or "/" if SLASH in loose else pattern
    caseless = next((at for at, character in enumerate(least) if character.isalpha()), len(least))
    for others in {match.others, ()}:
        for wide in LOOSE:
            if wide >= loose:
                yield _conditions(kind, pattern, others, wide)
            if kind != "regex":
                for end in range(1, (len(least) if wide >= loose - {SLASH} else caseless) + 1):
                    yield _conditions("prefix", least[:end], others, wide)


def _conditions(kind: str, pattern: str, others: tuple[object, ...], loose: frozenset[str]) -> Conditions:
    if kind != "regex" and CASE in loose:
        pattern = pattern.lower()
    if kind == "path" and SLASH in loose:
        pattern = pattern.rstrip("/") or "/"
    return Conditions(kind, pattern, others, loose)


def _catches_absent(node: YamlNode, route: Route) -> Iterator[tuple[str, Conditions]]:
    """Yield the header that all later requests with these conditions have, since this route takes those without it."""
    found = list(_header_matches(value_of(node, "match")))
    if len(found) == 1 and not any(route.match.others[:2]):
        ((header, positive),) = found
        if not positive:
            yield header, route.match._replace(others=())


def _item(node: YamlNode, gateway: str, upstream: str) -> Item:
    entries: list[SentEntry] = []
    opaque = leased = False
    for action in _items(value_of(node, "actions")):
        kind, fields = _action(action)
        if _text(fields, "descriptor_key").encode() == LEASE:
            leased = leased or not _flag(fields, "skip_if_absent")
            continue
        entry = _ENTRIES[kind](fields, gateway, upstream) if kind in _ENTRIES else None
        opaque = opaque or entry is None
        if entry is not None:
            entries.append(entry)
    limit = value_of(node, "limit")
    own_limit = isinstance(limit, YamlMap) and bool(limit.pairs)
    hits, reports = _hits(value_of(node, "hits_addend")), _flag(node, "apply_on_stream_done")
    return Item(node.line, None if opaque else tuple(entries), own_limit, hits, reports, leased)


def _hits(node: YamlNode | None) -> int:
    number = value_of(node, "number")
    hits = resolve(number) if isinstance(number, YamlScalar) else None
    return hits if isinstance(hits, int) and not _flag(node, "is_negative_hits") else 1


def _action(node: YamlNode) -> tuple[str, YamlNode | None]:
    if isinstance(node, YamlMap) and node.pairs:
        (name, fields), *_ = node.pairs
        return (name.text if isinstance(name, YamlScalar) else ""), fields
    return "", None


def _header(name: str) -> str:
    """Return a header as a phrase; empty for one that every request has."""
    lower = name.lower()
    return "" if lower[:1] == ":" or lower == "host" else lower


def _from_header(fields: YamlNode | None, _gateway: str, _upstream: str) -> SentEntry:
    needs = _header(_text(fields, "header_name"))
    return SentEntry(_text(fields, "descriptor_key").encode(), None, needs, _flag(fields, "skip_if_absent"))


def _from_query(fields: YamlNode | None, _gateway: str, _upstream: str) -> SentEntry:
    needs = f"query parameter {_text(fields, 'query_parameter_name')}"
    return SentEntry(_text(fields, "descriptor_key").encode(), None, needs, _flag(fields, "skip_if_absent"))


def _fixed(default: str, *, sometimes: bool) -> "_MakeEntry":
    def make(fields: YamlNode | None, _gateway: str, _upstream: str) -> SentEntry:
        key = _text(fields, "descriptor_key") or default
        return SentEntry(key.encode(), _text(fields, "descriptor_value").encode(), sometimes=sometimes)

    return make


def _of_connection(key: bytes) -> "_MakeEntry":
    return lambda _fields, _gateway, _upstream: SentEntry(key)


def _from_metadata(fields: YamlNode | None, _gateway: str, _upstream: str) -> SentEntry | None:
    if _flag(fields, "skip_if_absent"):
        return None
    return SentEntry(_text(fields, "descriptor_key").encode(), sometimes=True)


_MakeEntry = Callable[[YamlNode | None, str, str], SentEntry | None]

_ENTRIES: Final[Mapping[str, _MakeEntry]] = {
    "generic_key": _fixed("generic_key", sometimes=False),
    "request_headers": _from_header,
    "query_parameters": _from_query,
    "remote_address": _of_connection(b"remote_address"),
    "masked_remote_address": _of_connection(b"masked_remote_address"),
    "header_value_match": _fixed("header_match", sometimes=True),
    "query_parameter_value_match": _fixed("query_match", sometimes=True),
    "destination_cluster": lambda _fields, _gateway, upstream: SentEntry(b"destination_cluster", upstream.encode()),
    "source_cluster": lambda _fields, gateway, _upstream: SentEntry(b"source_cluster", gateway.encode()),
    "metadata": _from_metadata,
    "dynamic_metadata": _from_metadata,
}
"""By action. The entries of other actions are known to Envoy alone."""


def _items(node: YamlNode | None) -> list[YamlNode]:
    return node.items if isinstance(node, YamlList) else []


def _text(node: YamlNode | None, key: str) -> str:
    value = value_of(node, key)
    return value.text if isinstance(value, YamlScalar) and not is_null(value) else ""


def _flag(node: YamlNode | None, key: str) -> bool:
    value = value_of(node, key)
    return isinstance(value, YamlScalar) and resolve(value) is True


def _is_false(node: YamlNode | None) -> bool:
    return isinstance(node, YamlScalar) and resolve(node) is False
