"""The other replicas of a running service: how they are asked, and what they read here."""

from collections.abc import Mapping

from ratelimitd.admin import PageTable, TokenError, live_off, page_of, peer_pages
from ratelimitd.settings import Settings

from .admin import admin_guard, admin_token
from .live import LiveService
from .peer_tls import peer_tls
from .replicas import PORT, Document, Replicas


def replicas_of(live: LiveService, settings: Settings) -> Replicas:
    """Return what asks the replicas of PEERS. Raises StartError for an invalid token."""

    async def own(kind: str, query: Mapping[str, str], plain: bool) -> Document | None:
        return await page_of(live, kind, query, plain=plain)

    return Replicas(
        settings.peers,
        peer_port(settings),
        own,
        admin_token(settings) or _no_token,
        peer_tls(settings),
        same_hashes=bool(settings.identity_secret),
    )


def peer_port(settings: Settings) -> int:
    """Return the port of replicas for which PEERS has none."""
    return PORT if settings.peer_addr is None else settings.peer_addr[1] or PORT


def peer_table(live: LiveService | None, settings: Settings) -> PageTable:
    """Return the pages of PEER_ADDR. Raises StartError for an invalid token."""
    guard = admin_guard(settings, remote=True)
    if live is None or guard is None:
        return live_off()
    return peer_pages(live, guard, live.hub)


def _no_token() -> bytes:
    raise TokenError("neither ADMIN_TOKEN nor ADMIN_TOKEN_FILE is set")
