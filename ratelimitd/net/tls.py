"""TLS for a gRPC server from PEM files, read again when they change."""

import asyncio
import logging
import ssl
import time
from typing import Any

from .files import SECRET_BYTES, Stamp, read_regular, stamp

log = logging.getLogger(__name__)

LOOK_AGAIN = 1.0
"""Seconds; certificates are renewed days ahead, and a storm of connections shall not read files."""


class TlsFiles:
    """A certificate and its key; with ``client_ca`` every client needs a certificate of it.

    ``client_san``, when given, is the subject alternative name (DNS, URI, IP or email) that certificate must have.
    ``alpn`` is what is spoken over it (RFC 7301). ``look_again`` is the least time in seconds between two looks at the
    files; a look is taken when somebody connects.
    Raises OSError or ssl.SSLError, naming the file, when the files cannot be used now; later, what was last good stays.
    """

    def __init__(self, cert: str, key: str, client_ca: str = "", client_san: str = "", alpn: str = "h2") -> None:
        self.cert, self.key, self.client_ca, self.client_san = cert, key, client_ca, client_san
        self._alpn = alpn
        self.look_again = LOOK_AGAIN
        self._seen = self._signature()
        self._looked = time.monotonic()
        self._current = self._load()

    def context(self) -> ssl.SSLContext:
        """Return a context for ``create_server`` whose every handshake takes the files' latest good state."""
        context = _Latest(ssl.PROTOCOL_TLS_SERVER)
        context.latest = self.latest
        return context

    def latest(self) -> ssl.SSLContext:
        """Return the context of the files as they are, or as they last were good."""
        if time.monotonic() - self._looked >= self.look_again:
            self._looked = time.monotonic()
            self.reload()
        return self._current

    def reload(self) -> bool:
        """Read the files when they changed; returns whether a new state is in force."""
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
        """Whether a connection whose handshake is done may stay: it speaks h2, and its certificate has the name."""
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
            demand_readable(self.cert, self.key)
            context.load_cert_chain(self.cert, self.key, _no_password)
        except OSError as error:
            raise type(error)(f"cannot use the certificate {self.cert} with the key {self.key}: {error}") from error
        if self.client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            try:
                demand_readable(self.client_ca)
                context.load_verify_locations(self.client_ca)
            except OSError as error:
                raise type(error)(f"cannot use the client CA {self.client_ca}: {error}") from error
        return context


def demand_readable(*paths: str) -> None:
    """Raise OSError where OpenSSL would wait for a pipe, or read without a bound; it opens PEM files itself."""
    for path in paths:
        read_regular(path, SECRET_BYTES)


class _Latest(ssl.SSLContext):
    """Hands each handshake to the context that is in force then."""

    latest: Any

    def wrap_bio(self, *args: Any, **named: Any) -> ssl.SSLObject:
        context: ssl.SSLContext = self.latest()
        return context.wrap_bio(*args, **named)


def _no_password() -> str:
    """OpenSSL would ask on the terminal."""
    raise OSError("the key is encrypted; store it without a password, readable only by this service")


def _names(certificate: dict[str, Any] | None) -> set[str]:
    return {value for _, value in (certificate or {}).get("subjectAltName", ())}
