"""Reads ``Settings`` from environment and flags, and reports all errors at once."""

import re
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from typing import Any, Final, NamedTuple

from ratelimitd.config.suggest import closest, one_slip
from ratelimitd.printable import printable
from ratelimitd.settings.measuring import UNIX
from ratelimitd.settings.redis_url import credentials, redis_address
from ratelimitd.settings.redis_variables import MAIN_REDIS, PER_SECOND_REDIS
from ratelimitd.settings.rows import MASK, Row, RowStatus
from ratelimitd.settings.sinks import ONE_SINK, Mogrifier, StatsSink, mogrifiers
from ratelimitd.settings.table import ROW, ROWS, Settings
from ratelimitd.settings.xds import XDS, XdsRows

_ADDRESS_NAMES: Final = frozenset({"REDIS_HOST", "REDIS_HOSTNAME", "REDIS_PORT", "REDIS_SERVER", "REDIS_ADDRESS"})
"""Names that other programs give the address of a Redis."""

_WITHOUT_REDIS: Final = (
    "neither REDIS_URL nor REDIS_ADDR is set; set one of them, or unset this variable for counters in memory"
)

SLIP_LENGTH: Final = 8
"""Shortest name that a slip is looked for: HOST and PORT are one slip away from names of other programs."""

# Variables that Kubernetes sets in every pod for a Service named redis or redis-something.
_SERVICE_LINK: Final = re.compile(
    r"REDIS_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)=|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?=|PORT=(tcp|udp|sctp)://)", re.ASCII
)


class Problem(NamedTuple):
    """One error in the settings.

    Attributes:
        name: name of the variable, or of the flag that set it.
        value: the value as given, masked if it is secret.
        message: what is wrong and what to write instead.
    """

    name: str
    value: str
    message: str

    def __str__(self) -> str:
        return printable(f'{self.name}="{self.value}": {self.message}')


class SettingsError(ValueError):
    """Invalid settings; ``problems`` has all errors, and the text has one per line."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class _Given(NamedTuple):
    """The given values as text by name, and the names that were given by flag."""

    values: dict[str, str]
    flags: frozenset[str]

    def problem(self, row: Row[Any], message: str) -> Problem:
        name = row.flag if row.name in self.flags else row.name
        return Problem(name, row.shown(self.values.get(row.name, row.default)), message)


def load(environ: Mapping[str, str], flags: Mapping[str, str]) -> Settings:
    """Read all settings. ``flags`` are texts by the name of their variable; a flag overrides its variable.

    Raises SettingsError with all errors.
    """
    given = _Given({**environ, **flags}, frozenset(flags))
    values: dict[str, Any] = {}
    problems = [*_parse(given, values), *_refuse(given)]
    rules, bad = _mogrifiers(given, values.get(Settings.use_dog_statsd_mogrifiers.name, ()))
    problems += bad
    settings = Settings(values, _warnings(given), rules)
    problems += [problem for rule in _RULES for problem in rule(given, settings)]
    if problems:
        raise SettingsError(problems)
    return settings


def changed(settings: Settings, **values: object) -> Settings:
    """Return a copy with other values, by attribute."""
    copied = copy(settings)
    vars(copied).update(values)
    return copied


def _parse(given: _Given, values: dict[str, Any]) -> Iterator[Problem]:
    for row in ROWS:
        if row.status in (RowStatus.UNREAD, RowStatus.EXPORTER) or row.name not in given.values:
            continue
        try:
            values[row.name] = row.parse(given.values[row.name])
        except ValueError as error:
            yield given.problem(row, str(error) if given.values[row.name] else f"set but empty: {error}; or unset it")


def _refuse(given: _Given) -> Iterator[Problem]:
    for row in ROWS:
        if row.status is RowStatus.REFUSED and not _off(row, given.values.get(row.name, "")):
            yield given.problem(row, f"not implemented yet; unset it. {row.doc}")


def _off(row: Row[Any], value: str) -> bool:
    """Whether a value has no effect: empty, the default, or false as in Go."""
    return value in {"", row.default, "0", "f", "F", "false", "False", "FALSE"}


def _warnings(given: _Given) -> tuple[str, ...]:
    """Return the warnings about variables that are set but have no effect."""
    return (*_unread(given), *_without_xds(given), *_slips(given))


def _without_xds(given: _Given) -> Iterator[str]:
    """Warn of a control plane that is named and not asked."""
    named = sorted(row.name for row in vars(XdsRows).values() if isinstance(row, Row) and row.name in given.values)
    if named and given.values.get(Settings.config_type.name, "").upper() != XDS:
        yield f"the policy comes from files, so these have no effect without CONFIG_TYPE={XDS}: {', '.join(named)}"


def _slips(given: _Given) -> Iterator[str]:
    """Warn of names that are one slip away from a setting that is not set: they may also be another program's."""
    working = (row.name for row in ROWS if row.status in (RowStatus.WORKS, RowStatus.EARLY))
    unset = [name for name in working if name not in given.values]
    named = {row.name for row in ROWS}
    for name in sorted(given.values):
        meant = next((known for known in unset if len(known) >= SLIP_LENGTH and one_slip(name, known)), None)
        if meant is not None and name not in named:
            yield f"{name} is no variable of ratelimitd and has no effect; did you mean {meant}?"


def _unread(given: _Given) -> tuple[str, ...]:
    """Return one sentence with the variables of envoyproxy/ratelimit that are set but have no effect."""
    named = sorted(
        row.name
        for row in ROWS
        if row.status is RowStatus.UNREAD
        if row.name in given.values and not _off(row, given.values[row.name])
    )
    return (f"variables that are set but have no effect: {', '.join(named)} (see docs/settings.md)",) if named else ()


def _one_address(given: _Given, settings: Settings) -> Iterator[Problem]:
    both = settings.redis_url, settings.redis_addr
    if all(both) and both[0] != both[1]:
        yield given.problem(Settings.redis_addr, "REDIS_URL contains a different address; keep one of the two")
    for row in (Settings.redis_url, Settings.redis_addr):
        if given.values.get(row.name) == "":
            yield given.problem(row, "set but empty; write the address of a server, or unset it for counters in memory")


def _one_upstream(given: _Given, settings: Settings) -> Iterator[Problem]:
    """Accept two names with different upstreams only where a flag overrides the environment."""
    upstream, downstream = Settings.upstream_url, Settings.downstream_url
    overridden = upstream.name in given.flags and downstream.name not in given.flags
    if settings.downstream_url and settings.downstream_url != settings.upstream and not overridden:
        yield given.problem(downstream, "UPSTREAM_URL is a different one; keep one of the two")


def _backend(given: _Given, settings: Settings) -> Iterator[Problem]:
    row = Settings.backend_type
    if settings.backend_type == "memory" and _names_redis(given):
        yield given.problem(row, "the address of a Redis is set too; unset one of them")
    if settings.backend_type == "redis" and not _names_redis(given):
        yield given.problem(row, "REDIS_URL is required, for example redis:6379")


def _urls(given: _Given, settings: Settings) -> Iterator[Problem]:
    """Parse each address by its type, and check the other variables against it."""
    if settings.redis_persecond and not settings.redis_variables(PER_SECOND_REDIS).url:
        yield given.problem(Settings.redis_persecond, "REDIS_PERSECOND_URL is required, for example redis:6379")
    for prefix in (MAIN_REDIS, PER_SECOND_REDIS):
        yield from _url(given, settings, prefix)


def _url(given: _Given, settings: Settings, prefix: str) -> Iterator[Problem]:
    variables = settings.redis_variables(prefix)
    row = Settings.redis_addr if prefix == MAIN_REDIS and not settings.redis_url else ROW[f"{prefix}URL"]
    try:
        url = settings.redis_at(prefix)
    except ValueError as error:
        yield given.problem(row, str(error))
        return
    if url is None:
        return
    found = "unix" if url.deployment.addresses[0].path else "tcp"
    if variables.socket_type not in ("", found):
        yield given.problem(ROW[f"{prefix}SOCKET_TYPE"], f"the address is {found}; unset this variable")
    if found == "unix" and variables.tls:
        yield given.problem(row, "TLS is not supported on a unix socket; write host:port, or turn TLS off")
    if len(set(url.credentials)) > 1:
        yield given.problem(row, "the addresses contain different credentials; set them once, in REDIS_AUTH")


def _credentials(given: _Given, settings: Settings) -> Iterator[Problem]:
    """Require at most one source of credentials per Redis."""
    for prefix in (MAIN_REDIS, PER_SECOND_REDIS):
        auth, file, parts = ROW[f"{prefix}AUTH"], ROW[f"{prefix}AUTH_FILE"], settings.redis_variables(prefix).url
        in_address = any("@" in part for part in parts)
        same = in_address and _same(given.values.get(auth.name, ""), parts)
        if auth.name in given.values and in_address and not same:
            yield given.problem(auth, "the address contains different credentials; keep one of the two")
        if given.values.get(file.name) and (given.values.get(auth.name) or in_address):
            yield given.problem(file, "credentials are also set elsewhere; keep one of the two")


def _same(auth: str, parts: tuple[str, ...]) -> bool:
    try:
        return all(redis_address(part).credentials == (credentials(auth),) for part in parts if "@" in part)
    except ValueError:
        return True  # the address itself is invalid, and is reported as such


def _redis_tls(given: _Given, settings: Settings) -> Iterator[Problem]:
    """Reject certificates without TLS: connections would be plain text."""
    pair = Settings.redis_tls_client_cert, Settings.redis_tls_client_key
    files = (*pair, Settings.redis_tls_cacert)
    second = settings.redis_variables(PER_SECOND_REDIS)
    schemes = any("rediss://" in part for part in (*settings.redis_url, *settings.redis_addr, *second.url))
    used = settings.redis_tls or second.tls or schemes
    for row in () if used else files:
        if given.values.get(row.name):
            yield given.problem(
                row, "REDIS_TLS is off, so connections to Redis would be plain text; turn it on, or unset this variable"
            )
    for row, other in (pair, pair[::-1]):
        if given.values.get(row.name) and not given.values.get(other.name):
            yield given.problem(row, f"{other.name} is required too")


def _without_redis(given: _Given, _: Settings) -> Iterator[Problem]:
    """Reject Redis variables without an address: counters would be kept in memory."""
    if _names_redis(given):
        return
    for row in ROWS:
        if row.name.startswith("REDIS_") and row.name in given.values:
            yield given.problem(row, _WITHOUT_REDIS)


def _unknown(given: _Given, _: Settings) -> Iterator[Problem]:
    """Reject unknown names such as REDIS_ULR while no address of a Redis is set."""
    known = tuple(row.name for row in ROWS if row.name.startswith("REDIS_"))
    for name, value in given.values.items():
        if not name.startswith("REDIS_") or name in known or _names_redis(given):
            continue
        if _SERVICE_LINK.match(f"{name}={value}"):
            continue
        close = Settings.redis_url.name if name in _ADDRESS_NAMES else closest(name, known)
        hint = f"unknown variable; did you mean {close}? " if close else "unknown variable, and "
        yield Problem(name, MASK, hint + _WITHOUT_REDIS)


def _tls(given: _Given, settings: Settings) -> Iterator[Problem]:
    """Reject certificates without TLS, and TLS without certificates."""
    files = (Settings.grpc_server_tls_cert, Settings.grpc_server_tls_key)
    for row in files if settings.grpc_server_use_tls else ():
        if not given.values.get(row.name):
            yield given.problem(row, "GRPC_SERVER_USE_TLS requires it; write the path of a PEM file")
    trust = (Settings.grpc_client_tls_cacert, Settings.grpc_client_tls_san)
    for row in () if settings.grpc_server_use_tls else (*files, *trust):
        if given.values.get(row.name):
            yield given.problem(
                row, "GRPC_SERVER_USE_TLS is off, so gRPC would be plain text; turn it on, or unset this variable"
            )
    if settings.grpc_client_tls_san and not settings.grpc_client_tls_cacert:
        yield given.problem(
            Settings.grpc_client_tls_san, "a name cannot be verified without GRPC_CLIENT_TLS_CACERT; set it too"
        )


def _xds_tls(given: _Given, settings: Settings) -> Iterator[Problem]:
    """Reject half of a client certificate, and TLS files without TLS."""
    if not settings.over_xds:
        return
    pair = Settings.config_grpc_xds_client_tls_cert, Settings.config_grpc_xds_client_tls_key
    trust = Settings.config_grpc_xds_server_tls_cacert, Settings.config_grpc_xds_server_tls_san
    for row, other in (pair, pair[::-1]):
        if given.values.get(row.name) and not given.values.get(other.name):
            yield given.problem(row, f"{other.name} is required too")
    for row in () if settings.config_grpc_xds_server_use_tls else (*pair, *trust):
        if given.values.get(row.name):
            yield given.problem(
                row, "CONFIG_GRPC_XDS_SERVER_USE_TLS is off, so the policy would come in plain text; turn it on, or "
                "unset this variable"
            )  # fmt: skip


def _overlay(given: _Given, settings: Settings) -> Iterator[Problem]:
    """Reject a required overlay without a file: the service would never be ready."""
    if settings.policy_overlay_required and not settings.policy_overlay:
        yield given.problem(Settings.policy_overlay_required, "POLICY_OVERLAY is required too: the path of the overlay")


def _admin(given: _Given, settings: Settings) -> Iterator[Problem]:
    """Reject an admin API without a token, and ambiguous tokens."""
    token, file = Settings.admin_token, Settings.admin_token_file
    for row in (token, file):
        if given.values.get(row.name) == "":
            yield given.problem(row, "set but empty; unset it to disable the admin API")
    if settings.admin_token and settings.admin_token_file:
        yield given.problem(file, "ADMIN_TOKEN is set too; keep one of the two")
    if settings.admin_remote and not any(given.values.get(row.name) for row in (token, file)):
        yield given.problem(
            Settings.admin_remote, "no effect without an admin API; set ADMIN_TOKEN or ADMIN_TOKEN_FILE"
        )


def _peers(given: _Given, settings: Settings) -> Iterator[Problem]:
    """Reject replicas that could not ask one another: each shows its callers to those alone that have the token."""
    for row, value in ((Settings.peer_addr, settings.peer_addr), (Settings.peers, settings.peers)):
        if value and not (settings.admin_token or settings.admin_token_file):
            yield given.problem(
                row, "replicas ask one another with the admin token; set ADMIN_TOKEN or ADMIN_TOKEN_FILE"
            )


def _mogrifiers(given: _Given, names: tuple[str, ...]) -> tuple[tuple[Mogrifier, ...], list[Problem]]:
    found = list(mogrifiers(names, given.values))
    bad = [
        Problem(each[0], given.values.get(each[0], ""), each[1]) for each in found if not isinstance(each, Mogrifier)
    ]
    return tuple(each for each in found if isinstance(each, Mogrifier)), bad


def _sinks(given: _Given, settings: Settings) -> Iterator[Problem]:
    """Require at most one sink of metrics."""
    sinks = settings.sinks
    if len(sinks) > 1:
        row = Settings.use_dog_statsd if settings.use_dog_statsd else Settings.use_prometheus
        by_default = StatsSink.STATSD in sinks and Settings.use_statsd.name not in given.values
        hint = "; USE_STATSD is true by default, so write USE_STATSD=false" if by_default else ""
        yield given.problem(row, ONE_SINK + hint)


def _statsd(given: _Given, settings: Settings) -> Iterator[Problem]:
    """Require an address that the sink can have; a port that Kubernetes set is no port."""
    dog, statsd = (sink in settings.sinks for sink in (StatsSink.DOG_STATSD, StatsSink.STATSD))
    if not dog and not statsd:
        return
    by_path = settings.statsd_host.startswith(UNIX)
    if settings.statsd_port is None and not by_path:
        yield given.problem(
            Settings.statsd_port,
            "a service link: Kubernetes sets it for a Service named statsd, unless the pod has its own; write a number "
            "such as 8125, or enableServiceLinks: false in the pod",
        )
    if not settings.statsd_host or settings.statsd_host == UNIX:
        yield given.problem(Settings.statsd_host, "not a host; write one like localhost, or a path after unix://")
    if by_path and statsd:
        yield given.problem(Settings.statsd_host, "a unix socket requires USE_DOG_STATSD=true; write a host")


def _names_redis(given: _Given) -> bool:
    return "REDIS_URL" in given.values or "REDIS_ADDR" in given.values


_RULES: Final[tuple[Callable[[_Given, Settings], Iterator[Problem]], ...]] = (
    _one_address,
    _one_upstream,
    _backend,
    _urls,
    _credentials,
    _redis_tls,
    _without_redis,
    _unknown,
    _tls,
    _xds_tls,
    _overlay,
    _admin,
    _peers,
    _sinks,
    _statsd,
)
