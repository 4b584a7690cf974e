"""From policy files to a Policy, or to all errors in them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from ratelimitd.config.file_kinds import FileKind, kind_of, top_keys
from ratelimitd.config.problems import Notes, PolicyError, PolicyErrors
from ratelimitd.config.readers import Fields
from ratelimitd.config.suggest import closest
from ratelimitd.config.yaml_nodes import YamlError, YamlMap, YamlNode, is_null, load_yaml, value_of
from ratelimitd.policy import (
    DETAILED_METRIC,
    SHARE_THRESHOLD,
    STAR,
    UPSTREAM_ALGORITHM,
    VALUE_TO_METRIC,
    Charging,
    DomainRow,
    Identity,
    NodeRow,
    OnStoreFailure,
    Policy,
    PolicySummary,
    Row,
    assemble,
    keys_rows,
)

from .fields import TOP, maps_of, read_fields
from .limits import LimitDefaults, LimitMaker, Made
from .metadata import read_metadata
from .overlay import OF_DOMAIN, Overlay
from .overlaying import Effect, Given, Overlaying
from .overlaying import Level as OverlayLevel
from .tiers import Beside, TiersFile, named_file, read_identity

_T = TypeVar("_T")

NO_DOMAIN: Final = "config file cannot have empty domain"
"""Text of envoyproxy/ratelimit."""

INSTEAD: Final[Mapping[FileKind, str]] = {
    FileKind.EMPTY: "the file is empty; write 'domain: NAME' and 'descriptors'",
    FileKind.MANIFEST: "this is a Kubernetes manifest, not a policy: write what is below a key of its 'data' to a file",
    FileKind.GATEWAY: "this is a gateway file: run `ratelimitd proxy` with it, or give it alone, with its 'policies'",
    FileKind.POLICY: "write a name after 'domain:'",
    FileKind.OVERLAY: "this is an overlay, not a policy: give it with --overlay, and keep it out of their folder",
    FileKind.OTHER: "write 'domain: NAME' at the top of the file",
}
"""The cause of a missing domain, or what to write, by the kind of the file."""

Content = bytes | YamlNode
"""The bytes of a policy file, or the YAML node, with lines, of a policy inside a larger file."""


FLAGS: Final = (
    ("detailed_metric", DETAILED_METRIC),
    ("value_to_metric", VALUE_TO_METRIC),
    ("share_threshold", SHARE_THRESHOLD),
)


class Origin(NamedTuple):
    """Where a domain or descriptor was written; of a domain in several files, the first."""

    file: str
    line: int


class Document(NamedTuple):
    """The YAML of one policy."""

    file: str
    node: YamlNode


class Parsed(NamedTuple):
    """The result of parsing files. If there are errors, the rows must not be used.

    Attributes:
        rows: domains and descriptors, then the rows of API keys.
        origins: of each domain and descriptor, in the order of the rows.
        documents: every policy that was parsed.
        effects: of each entry of the overlay.
    """

    rows: list[Row]
    errors: list[PolicyError]
    summary: PolicySummary
    origins: Sequence[Origin] = ()
    documents: Sequence[Document] = ()
    effects: Sequence[Effect] = ()


SAME_ENDS_MAX: Final = 1_000
"""Wildcards at one level with the same prefix and suffix: trying them takes 0.2 ms of each request that may match."""


class _File(NamedTuple):
    name: str
    line: int
    root: Fields


class _Level(NamedTuple):
    """The level that descriptors are read at: parent row, siblings so far, and the domain's algorithm and charge.

    Attributes:
        overlay: None: no entry of an overlay is for this domain.
        written: the defaults of the domain that the policy writes, which an overlay does not change.
    """

    row: int
    path: str
    seen: set[bytes]
    ends: Counter[tuple[bytes, bytes]]
    algorithm: str
    charge: Charging
    overlay: OverlayLevel | None
    written: frozenset[str]

    def below(self, row: int, final_key: bytes, overlay: OverlayLevel | None) -> "_Level":
        """Return the level below a descriptor of this one."""
        path = f"{self.path}.{_shown(final_key)}"
        return self._replace(row=row, path=path, seen=set(), ends=Counter(), overlay=overlay)


def no_tiers_file(_file: str, _named: str) -> tuple[str, bytes]:
    """Find no ``tiers_file``: the files are not on disk."""
    raise FileNotFoundError(0, "there is no directory to read it from")


def parse(
    files: Iterable[tuple[str, Content]],
    *,
    default_algorithm: str = UPSTREAM_ALGORITHM,
    merge_domains: bool = False,
    beside: Beside = no_tiers_file,
) -> Policy:
    """Parse (name, content) files, in order, into a policy.

    ``merge_domains``: a domain may span files (MERGE_DOMAIN_CONFIG). ``beside`` reads a ``tiers_file``.
    Raises PolicyErrors with all errors.
    """
    parsed = examine(files, default_algorithm=default_algorithm, merge_domains=merge_domains, beside=beside)
    if parsed.errors:
        raise PolicyErrors(parsed.errors)
    return assemble(parsed.rows)


def examine(
    files: Iterable[tuple[str, Content]],
    *,
    default_algorithm: str = UPSTREAM_ALGORITHM,
    merge_domains: bool = False,
    beside: Beside = no_tiers_file,
    overlay: Overlay | None = None,
) -> Parsed:
    """Parse (name, content) files into rows, errors and a summary; never raises.

    A file that another one names as its ``tiers_file`` is not parsed as a policy.
    """
    reader = _PolicyReader(overlay)
    contents = list(files)
    nodes = [(name, node) for name, content in contents if (node := reader.node(name, content)) is not None]
    sides = {name: _tiers_file(beside, name, text) for name, node in nodes if (text := named_file(node)) is not None}
    tiers_files = {side.name for side in sides.values() if not side.failure}
    reader.notes.forget(tiers_files)
    documents = [Document(name, node) for name, node in nodes if name not in tiers_files]
    roots = [reader.root(*document) for document in documents]
    reader.domains([root for root in roots if root is not None], sides, default_algorithm, merge_domains=merge_domains)
    order = {name: number for number, name in enumerate((*sorted(tiers_files), *(name for name, _ in contents)))}
    reader.notes.errors.sort(key=lambda error: (order[error.file], error.line))
    rows = reader.rows + reader.keys
    made = [row for row in rows if isinstance(row, NodeRow)]
    domains = sum(isinstance(row, DomainRow) for row in rows)
    summary = PolicySummary(domains, len(made), sum(len(row.limits) for row in made))
    effects = () if reader.overlaying is None else reader.overlaying.effects
    return Parsed(rows, reader.notes.errors, summary, reader.origins, documents, effects)


def _tiers_file(beside: Beside, name: str, text: str) -> TiersFile:
    try:
        side = TiersFile(*beside(name, text))
    except OSError as error:
        return TiersFile("", b"", f"cannot be read: {error.strerror}")
    return side if side.name != name else TiersFile("", b"", "refers to the policy file itself: name another file")


class _PolicyReader:
    """Reads files one after the other into one stream of rows."""

    def __init__(self, overlay: Overlay | None) -> None:
        self.overlaying = None if overlay is None else Overlaying(overlay)
        self.notes = Notes()
        self.rows: list[Row] = []
        self.keys: list[Row] = []
        self.origins: list[Origin] = []
        self._limits = LimitMaker(self.notes)

    def node(self, name: str, content: Content) -> YamlNode | None:
        """Read the YAML of one file; None if it is invalid, which is noted."""
        self.notes.file = name
        if not isinstance(content, bytes):
            return content
        try:
            return load_yaml(content) or YamlMap([], 1)
        except YamlError as error:
            self.notes.error(error.line, f"error loading config file: {error}")
            return None

    def root(self, name: str, node: YamlNode) -> _File | None:
        """Read the top level of one file; None if it is invalid, which is noted.

        An error about a file without a domain quotes none of it: it may be a tiers file whose name is misspelled
        elsewhere.
        """
        self.notes.file = name
        if is_null(node):
            node = YamlMap([], 1)
        if not isinstance(node, YamlMap):
            self.notes.error(
                node.line, "error loading config file: the file must be a map with 'domain' at the top level"
            )
            return None
        if value_of(node, "domain") is None:
            self.notes.error(node.line, f"{NO_DOMAIN}: {_instead(node)}")
            return None
        before = len(self.notes.errors)
        fields = read_fields(self.notes, node, TOP)
        if not fields.get("domain") and len(self.notes.errors) == before:
            self.notes.error(node.line, f"{NO_DOMAIN}: {INSTEAD[FileKind.POLICY]}")
        return _File(name, node.line, fields)

    def domains(
        self, files: Sequence[_File], sides: Mapping[str, TiersFile], default_algorithm: str, *, merge_domains: bool
    ) -> None:
        """Read the descriptors of the files, each into its domain."""
        levels: dict[bytes, _Level] = {}
        for file in files:
            self.notes.file = file.name
            name = file.root.get("domain", b"")
            if name and name in levels and not merge_domains:
                self.notes.error(file.line, f"duplicate domain '{_shown(name)}' in config file")
            if name not in levels or not merge_domains:
                alike = [other for other in files if other.root.get("domain", b"") == name] if merge_domains else [file]
                levels[name] = self._domain(name, alike, sides, default_algorithm)
            self.notes.file = file.name
            self._descriptors(file.root, levels[name])

    def _domain(
        self, name: bytes, files: Sequence[_File], sides: Mapping[str, TiersFile], default_algorithm: str
    ) -> _Level:
        """Start a domain with its options; one of its files may set them for all."""
        algorithm = self._agreed(files, "default_algorithm", default=default_algorithm)
        identity = self._identity(files, sides)
        all_or_nothing = self._agreed(files, "all_or_nothing", default=False)
        charge = self._agreed(files, "default_charge", default=Charging.UNSAID)
        own = identity and identity._replace(tiers={})
        overlay = None if self.overlaying is None else self.overlaying.domain(name)
        written = frozenset(key for key in OF_DOMAIN if any(key in file.root for file in files))
        row = DomainRow(name, algorithm, all_or_nothing, own, default_charge=charge)
        if overlay is not None:
            row = row._replace(**overlay.defaults(written))
        self.rows.append(row)
        self.origins.append(Origin(files[0].name, files[0].line))
        if identity is not None:
            self.keys += keys_rows(name, identity.tiers)
        return _Level(len(self.rows) - 1, _shown(name), set(), Counter(), algorithm, charge, overlay, written)

    def _identity(self, files: Sequence[_File], sides: Mapping[str, TiersFile]) -> Identity | None:
        said = [file for file in files if "identity" in file.root]
        for file in said[1:]:
            self.notes.file = file.name
            self.notes.error(file.line, f"'identity' is also in {said[0].name}: write it in one file of the domain")
        if not said:
            return None
        self.notes.file = said[0].name
        return read_identity(self.notes, said[0].root["identity"], sides.get(said[0].name))

    def _agreed(self, files: Sequence[_File], key: str, *, default: _T) -> _T:
        said = [file for file in files if key in file.root]
        for file in said:
            if file.root[key] != said[0].root[key]:
                self.notes.file = file.name
                self.notes.error(
                    file.line, f"'{key}' differs from the one in {said[0].name}: write it in one file of the domain"
                )
        return said[0].root[key] if said else default

    def _descriptors(self, fields: Fields, level: _Level) -> None:
        if "descriptors" in fields:
            for node in maps_of(self.notes, fields["descriptors"]):
                self._descriptor(node, level)

    def _descriptor(self, node: YamlMap, level: _Level) -> None:
        before = len(self.notes.errors)
        fields = read_fields(self.notes, node, "descriptors")
        sound = len(self.notes.errors) == before
        key, value = fields.get("key", b""), fields.get("value", b"")
        final_key = b"%b_%b" % (key, value) if value else key
        if sound and key:
            self._check_final_key(node, final_key, level, fields)
        elif sound:
            self.notes.error(node.line, "descriptor has empty key")
        overlay = None if level.overlay is None else level.overlay.below(key, value)
        given = self._given(level, final_key, fields, overlay)
        limits, lines = self._limits_of(node, fields, level, given, sound=sound)
        metadata = read_metadata(self.notes, fields["metadata"]) if "metadata" in fields else None
        flags = sum(flag for name, flag in FLAGS if fields.get(name))
        self.rows.append(NodeRow(level.row, key, value, limits, metadata, flags, self.notes.file, lines))
        self.origins.append(Origin(self.notes.file, node.line))
        if "descriptors" in fields:
            self._descriptors(fields, level.below(len(self.rows) - 1, final_key, overlay))

    def _check_final_key(self, node: YamlMap, final_key: bytes, level: _Level, fields: Fields) -> None:
        if final_key in level.seen:
            path = f"{level.path}.{_shown(final_key)}"
            self.notes.error(node.line, f"duplicate descriptor composite key '{path}'")
        level.seen.add(final_key)
        if STAR in final_key:
            self._check_ends(node, final_key, level)
        if fields.get("share_threshold") and STAR not in final_key:
            self.notes.error(
                node.line,
                "share_threshold can only be used with wildcard values (containing '*'), "
                f"but found key '{_shown(final_key)}'",
            )

    def _check_ends(self, node: YamlMap, final_key: bytes, level: _Level) -> None:
        """Bound patterns with the same prefix and suffix: they are tried one by one, at the cost of the request."""
        prefix, *_, suffix = final_key.split(STAR)
        level.ends[prefix, suffix] += 1
        if level.ends[prefix, suffix] == SAME_ENDS_MAX + 1:
            self.notes.error(
                node.line,
                f"more than {SAME_ENDS_MAX} wildcards at this level begin with '{_shown(prefix)}' and end with "
                f"'{_shown(suffix)}': move what distinguishes them to a separate key, one level up",
            )

    def _given(self, level: _Level, final_key: bytes, fields: Fields, overlay: OverlayLevel | None) -> Given | None:
        """Return what an overlay may say of the limits of a descriptor."""
        effects = () if overlay is None else overlay.here()
        if not effects or not ("rate_limit" in fields or "rate_limits" in fields):
            return None
        written = level.written | fields.keys()
        return Given(f"{level.path}.{_shown(final_key)}", effects, written)

    def _limits_of(self, node: YamlMap, fields: Fields, level: _Level, given: Given | None, *, sound: bool) -> Made:
        if "rate_limit" in fields and "rate_limits" in fields:
            self.notes.error(
                node.line, "'rate_limit' and 'rate_limits' are mutually exclusive: write all limits in 'rate_limits'"
            )
            return (), ()
        on_store_failure = fields.get("on_store_failure", OnStoreFailure.ERROR)
        modes = fields.get("shadow_mode", False), fields.get("quota_mode", False)
        defaults = LimitDefaults(level.algorithm, level.charge, *modes, on_store_failure, given)
        if "rate_limit" in fields:
            return self._limits.single(fields["rate_limit"], defaults)
        if "rate_limits" in fields:
            return self._limits.several(fields["rate_limits"], defaults)
        if "on_store_failure" in fields and sound:
            self.notes.error(
                node.line,
                "'on_store_failure' applies to the limits of its own descriptor, which has none: "
                "move it to one with limits",
            )
        return (), ()


def _instead(node: YamlMap) -> str:
    """Return the cause of a missing domain. Of the file's own text only a key that is almost 'domain' is quoted."""
    kind = kind_of(node)
    misspelled = next((key for key in top_keys(node) if closest(key, ("domain",))), None)
    if misspelled is not None and kind in (FileKind.POLICY, FileKind.OTHER):
        return f"write 'domain' instead of '{misspelled}'"
    return INSTEAD[FileKind.OTHER if kind is FileKind.POLICY else kind]


def _shown(text: bytes) -> str:
    return text.decode(errors="replace")
