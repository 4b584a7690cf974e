"""PEM files for tests: a certificate authority, a server certificate and a client certificate."""

from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class TlsFiles:
    """Paths of the files. The authority signs both certificates."""

    authority: Path
    server_certificate: Path
    server_key: Path
    client_certificate: Path
    client_key: Path


def tls_files(folder: Path, *names: str) -> TlsFiles:
    """Write the files to an existing folder; the server certificate is for ``names`` (localhost and 127.0.0.1)."""
    authority = trustme.CA()
    where = TlsFiles(*(folder / f"{each}.pem" for each in ("ca", "server", "server-key", "client", "client-key")))
    authority.cert_pem.write_to_path(where.authority)
    server = authority.issue_cert(*(names or ("localhost", "127.0.0.1")))
    client = authority.issue_cert("client@ratelimitd.test")
    for issued, certificate, key in (
        (server, where.server_certificate, where.server_key),
        (client, where.client_certificate, where.client_key),
    ):
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)
    return where
