"""TLS to upstreams: the contexts that verify their certificates, from the system's authorities or a PEM file."""

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ratelimitd.net.files import SECRET_BYTES, read_regular, reason
from ratelimitd.policy import PolicyError, PolicyErrors

if TYPE_CHECKING:
    from ratelimitd.gateway import Backend, Gateway


class UpstreamTls(NamedTuple):
    """TLS to one upstream.

    Attributes:
        ca: content of its ``ca`` file; empty without one. Another content is another upstream.
        context: None if none of its endpoints has TLS.
    """

    ca: bytes
    context: ssl.SSLContext | None


def upstream_tls(gateway: "Gateway") -> dict[str, UpstreamTls]:
    """Return the TLS of each upstream by name; reads files, so it belongs in a thread.

    Raises PolicyErrors with the line of each ``ca`` that cannot be used. File names are relative to the gateway file.
    """
    errors: list[PolicyError] = []
    made: dict[str, UpstreamTls] = {}
    systems: ssl.SSLContext | None = None
    for name, backend in gateway.upstreams.items():
        if not any(endpoint.tls for endpoint in backend.endpoints):
            made[name] = UpstreamTls(b"", None)
        elif backend.ca is not None:
            try:
                made[name] = _of_file(Path(gateway.file).parent / backend.ca.path)
            except (OSError, ValueError) as error:
                text = f"'ca' of upstream '{name}' cannot be used: {reason(error)}"
                errors.append(PolicyError(gateway.file, backend.ca.line, text))
        elif not backend.verify:
            made[name] = UpstreamTls(b"", _unverified())
        else:
            systems = systems or ssl.create_default_context()
            made[name] = UpstreamTls(b"", systems)
    if errors:
        raise PolicyErrors(errors)
    return made


def compared(backend: "Backend") -> "Backend":
    """Return a backend for comparison: the line of its ``ca`` makes no difference."""
    return backend if backend.ca is None else backend._replace(ca=backend.ca._replace(line=0))


def _of_file(path: Path) -> UpstreamTls:
    content = read_regular(path, SECRET_BYTES)
    try:
        return UpstreamTls(content, ssl.create_default_context(cadata=content.decode("ascii", "replace")))
    except ssl.SSLError as error:
        raise ValueError(f"{path}: not a file of PEM certificates") from error


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
