"""Errors of the start that name the setting to change, beside the address or file that cannot be used."""

import errno
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ratelimitd.net.files import reason
from ratelimitd.net.tls import TlsFiles
from ratelimitd.settings import Settings

if TYPE_CHECKING:
    from ratelimitd.gateway import Gateway


@contextmanager
def port_set_by(setting: str) -> Iterator[None]:
    """Add the setting of a port to the OSError of binding it."""
    try:
        yield
    except OSError as error:
        taken = f"set {setting} to another port, or stop the process that has this one"
        hint = taken if error.errno == errno.EADDRINUSE else f"set by {setting}"
        raise OSError(error.errno, f"{error.strerror or error}; {hint}") from error


def grpc_tls(settings: Settings, alpn: str = "h2", san: str = "") -> TlsFiles | None:
    """Return the TLS files of gRPC, None without TLS; raises OSError as ``_named`` does.

    ``alpn`` and ``san``: as of ``TlsFiles``.
    """
    if not settings.grpc_server_use_tls:
        return None
    rows = Settings.grpc_server_tls_cert, Settings.grpc_server_tls_key, Settings.grpc_client_tls_cacert
    cert, key, client_ca = settings.grpc_server_tls_cert, settings.grpc_server_tls_key, settings.grpc_client_tls_cacert
    names = {row.name: path for row, path in zip(rows, (cert, key, client_ca), strict=True)}
    return _named(names, lambda: TlsFiles(cert, key, client_ca, san, alpn))


def gateway_tls(gateway: "Gateway") -> TlsFiles | None:
    """Return the TLS files of a gateway file, None without TLS; raises OSError as ``_named`` does."""
    if gateway.tls is None:
        return None
    folder = Path(gateway.file).parent
    cert, key = str(folder / gateway.tls.cert), str(folder / gateway.tls.key)
    names = {f"{gateway.file}: 'cert' of 'tls'": cert, f"{gateway.file}: 'key' of 'tls'": key}
    return _named(names, lambda: TlsFiles(cert, key, alpn="http/1.1"))


def _named(names: Mapping[str, str], make: Callable[[], TlsFiles]) -> TlsFiles:
    """Make TlsFiles; its OSError names the file, or has the paths in its text, and gets the settings' names too."""
    try:
        return make()
    except OSError as error:
        text = reason(error)
        exact = [name for name, path in names.items() if path == error.filename]
        named = exact or [name for name, path in names.items() if path and path in text]
        raise OSError(f"{' and '.join(named)}: {text}") from error
