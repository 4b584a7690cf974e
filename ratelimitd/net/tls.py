"""Server TLS from PEM files, which are read again when they change."""

import asyncio
import logging
import ssl
import time
from typing import Any

from .files import SECRET_BYTES, Stamp, read_regular, reason, stamp

log = logging.getLogger(__name__)

LOOK_AGAIN = 1.0
"""Seconds between two checks of the files: certificates are renewed days ahead, and a burst of connections must not
read files each time."""


class TlsFiles:
    """A certificate and its key; with ``client_ca`` every client must present a certificate of that CA.

    ``client_san``, if given, is the subject alternative name (DNS, URI, IP or email) that the client certificate must
    have. ``alpn`` is the application protocol (RFC 7301). ``look_again`` is the minimum time in seconds between two
    checks of the files; they are checked when a client connects.
    Raises OSError, naming the file, if the files cannot be used; later, the last valid state stays.
    """

    def __init__(self, cert: str, key: str, client_ca: str = "", client_san: str = "", alpn: str = "h2") -> None:
        self.cert, self.key, self.client_ca, self.client_san = cert, key, client_ca, client_san
        self._alpn = alpn
        self.look_again = LOOK_AGAIN
        self._seen = self._signature()
        self._looked = time.monotonic()
        self._current = self._load()

    def context(self) -> ssl.SSLContext:
        """Return a context for ``create_server``; each handshake uses the last valid state of the files."""
        context = _Latest(ssl.PROTOCOL_TLS_SERVER)
        context.latest = self.latest
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

    def accepts(self, transport: asyncio.BaseTransport) -> bool:
        """Whether a connection is accepted after its handshake: it uses h2, and its certificate has the SAN."""
        spoken: ssl.SSLObject = transport.get_extra_info("ssl_object")
        if spoken.selected_alpn_protocol() != "h2":
            return False
        return not self.client_san or self.client_san in _names(transport.get_extra_info("peercert"))

    def _signature(self) -> tuple[Stamp, ...]:
        return tuple(stamp(path) for path in (self.cert, self.key, self.client_ca) if path)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 9113 9.2
        context.set_alpn_protocols([self._alpn])
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


class _Latest(ssl.SSLContext):
    """Delegates each handshake to the current context."""

    latest: Any

    def wrap_bio(self, *args: Any, **named: Any) -> ssl.SSLObject:
        context: ssl.SSLContext = self.latest()
        return context.wrap_bio(*args, **named)


def _no_password() -> str:
    """Raise OSError; without this callback OpenSSL would prompt on the terminal."""
    raise OSError("the key is encrypted; store it without a password, readable only by this service")


def _names(certificate: dict[str, Any] | None) -> set[str]:
    return {value for _, value in (certificate or {}).get("subjectAltName", ())}
