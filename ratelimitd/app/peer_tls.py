"""TLS of the connections between replicas: the files of gRPC, for both sides."""

import asyncio
import ssl
from typing import Final

from ratelimitd.net.files import Stamp, reason, stamp
from ratelimitd.net.tls import require_readable
from ratelimitd.settings import Settings

LOOK_AGAIN: Final = 1.0
"""Seconds between two checks of the files: as often as a server looks at its own."""


class PeerTls:
    """What a replica presents to others, and by what it verifies them; files that changed are read again.

    The certificate of the gRPC port is presented, and verified is against GRPC_CLIENT_TLS_CACERT, or, without it, the
    authorities that the system trusts. A change of the latter needs a restart.
    """

    def __init__(self, settings: Settings) -> None:
        self._cert, self._key = settings.grpc_server_tls_cert, settings.grpc_server_tls_key
        self._authority = settings.grpc_client_tls_cacert
        self._looked = 0.0
        self._seen: tuple[Stamp, ...] = ()
        self._current: ssl.SSLContext | None = None

    async def latest(self) -> ssl.SSLContext:
        """Return the context of the last valid state of the files. Raises OSError while there was none."""
        now = asyncio.get_running_loop().time()
        if self._current is None or now - self._looked >= LOOK_AGAIN:
            self._looked = now
            await asyncio.to_thread(self._look)
        if self._current is None:
            raise OSError("the TLS files cannot be used")
        return self._current

    def _look(self) -> None:
        """Read the files if they changed; raises OSError only while there is no valid state of them."""
        try:
            seen = tuple(stamp(path) for path in (self._cert, self._key, self._authority) if path)
            if seen != self._seen:
                self._current, self._seen = self._load(), seen
        except OSError as error:
            if self._current is None:
                raise OSError(f"the TLS files cannot be used: {reason(error)}") from error

    def _load(self) -> ssl.SSLContext:
        require_readable(self._cert, self._key, *([self._authority] if self._authority else []))
        context = ssl.create_default_context(cafile=self._authority or None)
        context.load_cert_chain(self._cert, self._key, lambda: "")
        return context


def peer_tls(settings: Settings) -> PeerTls | None:
    """Return the TLS by which other replicas are asked; None: in plain text."""
    return PeerTls(settings) if settings.grpc_server_use_tls else None
