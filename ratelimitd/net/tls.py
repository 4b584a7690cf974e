"""Server TLS from PEM files, which are read again when they change."""

import logging
import re
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from typing import Any, Final

from .files import SECRET_BYTES, Stamp, read_regular, reason, stamp

log = logging.getLogger(__name__)

LOOK_AGAIN = 1.0
"""Seconds between two checks of the files: certificates are renewed days ahead, and a burst of connections must not
read files each time."""

_LABEL: Final = re.compile(r"[a-z0-9_][a-z0-9_-]*")


class TlsFiles:
    """A certificate and its key; with ``client_ca`` every client must present a certificate of that CA.

    ``client_san``, if given, is the subject alternative name (DNS, URI, IP or email) that the client certificate must
    have (``has_name``). ``alpn`` is the application protocol (RFC 7301). ``look_again`` is the minimum time in seconds
    between two checks of the files; they are checked when a client connects. ``handshake_failed`` is called with the
    reason of a handshake that TLS refused; neither asyncio nor uvloop reports one.
    Raises OSError, naming the file, if the files cannot be used; later, the last valid state stays.
    """

    def __init__(self, cert: str, key: str, client_ca: str = "", client_san: str = "", alpn: str = "h2") -> None:
        self.cert, self.key, self.client_ca, self.client_san = cert, key, client_ca, client_san
        self._alpn = alpn
        self.look_again = LOOK_AGAIN
        self.handshake_failed: Callable[[str], None] = lambda _: None
        self._seen = self._signature()
        self._looked = time.monotonic()
        self._current = self._load()

    def context(self) -> ssl.SSLContext:
        """Return a context for ``create_server``; each handshake uses the last valid state of the files."""
        context = _Latest(ssl.PROTOCOL_TLS_SERVER)
        context.latest = self.latest
        context.failed = lambda reason: self.handshake_failed(reason)  # noqa: PLW0108 -- set after the context is made
        return context

    def latest(self) -> ssl.SSLContext:
        """Return the context of the last valid state of the files."""
        if time.monotonic() - self._looked >= self.look_again:
            self._looked = time.monotonic()
            self.reload()
        return self._current

    def reload(self) -> bool:
        """Read the files if they changed; returns whether a new state is active."""
        try:
            seen = self._signature()
            if seen == self._seen:
                return False
            self._current, self._seen = self._load(), seen
        except OSError as error:  # ssl.SSLError is one
            log.warning("the changed TLS files cannot be used; the previous ones stay active: %s", error)
            return False
        log.info("the changed TLS files are active")
        return True

    def read(self) -> tuple[bytes, bytes, bytes | None]:
        """Return key, certificate chain and client CA as PEM."""
        ca = read_regular(self.client_ca, SECRET_BYTES) if self.client_ca else None
        return read_regular(self.key, SECRET_BYTES), read_regular(self.cert, SECRET_BYTES), ca

    def names(self, dns: Iterable[str], others: Iterable[str]) -> bool:
        """Whether a client certificate with these DNS names and other subject alternative names is accepted."""
        return not self.client_san or has_name(self.client_san, dns, others)

    def _signature(self) -> tuple[Stamp, ...]:
        return tuple(stamp(path) for path in (self.cert, self.key, self.client_ca) if path)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 9113 9.2
        context.set_alpn_protocols([self._alpn])
        context.sslobject_class = _Handshake
        try:
            require_readable(self.cert, self.key)
            context.load_cert_chain(self.cert, self.key, _no_password)
        except OSError as error:
            raise OSError(f"cannot use the certificate {self.cert} with the key {self.key}: {reason(error)}") from error
        if self.client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            try:
                require_readable(self.client_ca)
                context.load_verify_locations(self.client_ca)
            except OSError as error:
                raise OSError(f"cannot use the client CA {self.client_ca}: {reason(error)}") from error
        return context


def require_readable(*paths: str) -> None:
    """Raise OSError for a file on which OpenSSL, which opens PEM files itself, would block or read without a limit."""
    for path in paths:
        read_regular(path, SECRET_BYTES)


class _Handshake(ssl.SSLObject):
    """Reports its failure."""

    failed: Any = None

    def do_handshake(self) -> None:
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self.failed(error.reason or str(error))
            raise


class _Latest(ssl.SSLContext):
    """Delegates each handshake to the current context."""

    latest: Any
    failed: Any

    def wrap_bio(self, *args: Any, **named: Any) -> ssl.SSLObject:
        context: ssl.SSLContext = self.latest()
        wrapped = context.wrap_bio(*args, **named)
        if isinstance(wrapped, _Handshake):
            wrapped.failed = self.failed
        return wrapped


def _no_password() -> str:
    """Raise OSError; without this callback OpenSSL would prompt on the terminal."""
    raise OSError("the key is encrypted; store it without a password, readable only by this service")


def certificate_names(certificate: Mapping[str, Any] | None) -> tuple[list[str], list[str]]:
    """Return the DNS names and the other subject alternative names of a certificate as ``getpeercert`` returns it."""
    found = (certificate or {}).get("subjectAltName", ())
    return [name for kind, name in found if kind == "DNS"], [name for kind, name in found if kind != "DNS"]


def has_name(wanted: str, dns: Iterable[str], others: Iterable[str]) -> bool:
    """Whether a certificate has this name, as Go's VerifyHostname decides (RFC 6125 6.4).

    DNS names are compared without case, and ``*`` stands for one whole label, the leftmost. An IP address is compared
    as an address. A URI, such as a SPIFFE ID, and an email address must be equal, which Go does not accept at all.
    """
    others = list(others)
    if wanted in others or any(_same_address(wanted, name) for name in others):
        return True
    labels = wanted.lower().removesuffix(".").split(".")
    return any(name.lower() == wanted.lower() or _matches(name.lower().split("."), labels) for name in dns)


def _matches(pattern: list[str], labels: list[str]) -> bool:
    """Whether a host name has the labels of a pattern; a label of a host name has no ``*``."""
    return (
        len(pattern) == len(labels)
        and pattern[1:] == labels[1:]
        and (pattern[0] == labels[0] or (pattern[0] == "*" and _LABEL.fullmatch(labels[0]) is not None))
    )


def _same_address(wanted: str, name: str) -> bool:
    try:
        return ip_address(wanted.strip("[]")) == ip_address(name)
    except ValueError:
        return False
